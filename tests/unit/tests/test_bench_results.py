"""Samples and their spread over the rounds; a measure that fails leaves the others alone."""

from pathlib import Path

import pytest

from deploy.local.emulators import Emulators
from tests.bench.bench import Bench, Figures, Measure, run_measure, words
from tests.bench.display import Display, display
from tests.bench.errors import MeasurementError
from tests.bench.limits.closed_loop import figures, measured
from tests.bench.options import Options
from tests.bench.percentiles import percentile
from tests.bench.results import CPU_MS, P50_MS, P99_MS, RATE, Key, Results, Sample, Spread, ratio

KEY = Key("calls", "8 connections", "this")
OTHER = Key("calls", "8 connections", "textbook")


def results(*rates: float) -> Results:
    return Results([Sample(KEY, turn, {RATE: rate}) for turn, rate in enumerate(rates)])


def test_rounds_are_told_by_their_median_and_their_extremes() -> None:
    assert results(300, 100, 200).spread(KEY, RATE) == Spread(200, 100, 300)
    assert results(300, 100).median(KEY, RATE) == 200


def test_what_was_not_measured_has_no_figure() -> None:
    assert results(1).spread(OTHER, RATE) is None
    assert results(1).spread(KEY, P50_MS) is None
    assert results(1).median(OTHER, RATE) is None


def test_a_ratio_wants_both_sides() -> None:
    assert ratio(6, 3) == 2
    assert ratio(None, 3) is None
    assert ratio(6, None) is None
    assert ratio(6, 0) is None


def test_the_json_has_every_sample_and_every_failure() -> None:
    found = results(300, 100)
    found.failures[OTHER] = "it did not start"

    assert found.as_json() == {
        "samples": [
            {"measure": "calls", "case": "8 connections", "way": "this", "round": 0, "rate": 300},
            {"measure": "calls", "case": "8 connections", "way": "this", "round": 1, "rate": 100},
        ],
        "failures": [
            {"measure": "calls", "case": "8 connections", "way": "textbook", "failure": "it did not start"},
        ],
    }


@pytest.mark.parametrize(("percent", "value"), [(50, 2), (99, 4), (25, 1), (100, 4), (1, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], percent) == value


class TestOneRun:
    @pytest.fixture
    def shown(self) -> Display:
        with display(10) as shown:
            return shown

    @pytest.fixture
    def bench(self, shown: Display, tmp_path: Path) -> Bench:
        return Bench(Options(), tmp_path, Emulators("", "", []), Results(), shown)

    async def test_a_way_that_fails_is_noted_and_not_tried_again(self, bench: Bench) -> None:
        tried = 0

        async def measuring() -> Figures:
            nonlocal tried
            tried += 1
            raise MeasurementError("no call was answered")

        await bench.attempt(KEY, 0, measuring)
        await bench.attempt(KEY, 1, measuring)

        assert tried == 1
        assert bench.results.failures == {KEY: "MeasurementError: no call was answered"}

    async def test_another_way_is_measured_all_the_same(self, bench: Bench) -> None:
        async def failing() -> Figures:
            raise OSError("gone")

        async def measuring() -> Figures:
            return {RATE: 5.0}

        await bench.attempt(OTHER, 0, failing)
        await bench.attempt(KEY, 0, measuring)

        assert bench.results.median(KEY, RATE) == 5.0

    async def test_a_measure_that_breaks_leaves_the_next_one_alone(self, bench: Bench) -> None:
        async def breaks(_: Bench) -> None:
            raise MeasurementError("the receiver did not start")

        async def works(bench: Bench) -> None:
            bench.results.samples.append(Sample(KEY, 0, {RATE: 5.0}))

        await run_measure(bench, Measure(name="tracing", unit="call", steps=lambda _: 1, run=breaks))
        await run_measure(bench, Measure(name="calls", unit="call", steps=lambda _: 1, run=works))

        assert list(bench.results.failures) == [Key("tracing", "", "")]
        assert bench.results.median(KEY, RATE) == 5.0


def test_a_group_of_failures_is_told_by_its_first_one() -> None:
    group = ExceptionGroup("unhandled", [ExceptionGroup("inner", [ValueError("two\nlines")]), OSError("other")])

    assert words(group) == "ValueError: two lines"


def test_a_long_failure_is_cut() -> None:
    assert len(words(ValueError("x" * 5000))) < 700


async def test_a_closed_loop_counts_events_and_times_operations() -> None:
    async def operation() -> int:
        return 64

    said = await measured(operation, in_flight=4, seconds=0.02)

    assert said[RATE] > 64
    assert 0 < said[P50_MS] <= said[P99_MS]
    assert said[CPU_MS] > 0


async def test_a_closed_loop_ends_where_nothing_is_left() -> None:
    left = [1, 1, 1, 7, 5]

    async def operation() -> int:
        return left.pop(0) if left else 0

    said = await measured(operation, in_flight=2, seconds=60)

    assert said[RATE] > 0  # the three that warm up are not counted, and nobody waits a minute


def test_a_closed_loop_without_an_operation_says_so() -> None:
    with pytest.raises(SystemExit):
        figures(events=0, seconds=1, cpu_seconds=1, latencies=[])

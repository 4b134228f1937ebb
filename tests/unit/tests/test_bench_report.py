"""The report: ratios beside the figures, the targets, what failed; and the charts."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.bench.bodies import PAYLOADS, event_of
from tests.bench.chart import bench_chart
from tests.bench.growth.chart import growth_chart
from tests.bench.growth.report import GrowthRun
from tests.bench.growth.report import report as growth_report
from tests.bench.growth.stages import CALLS, DRAIN, key
from tests.bench.machine import this_machine
from tests.bench.markdown import TIMES, number, table
from tests.bench.measures import batches, calls, drains, limits
from tests.bench.measures.chosen import MEASURES, chosen
from tests.bench.options import Options
from tests.bench.outputs import DRAINED_GROWTH, as_json, drained_growth, write_json
from tests.bench.report import Run, report
from tests.bench.results import Key, Results, Sample
from tests.bench.targets import GROWTH, TARGETS

ECHO = Key(calls.NAME, calls.MOST, "Connect echo")
THIS = Key(calls.NAME, calls.MOST, "this")
TEXTBOOK = Key(calls.NAME, calls.MOST, "textbook")


def sample(key: Key, turn: int = 0, **figures: float) -> Sample:
    return Sample(key, turn, figures)


def run(*samples: Sample, growth: float | None = None) -> Run:
    return Run(options=Options(), machine=this_machine(), results=Results(list(samples)), seconds=600, growth=growth)


def row(text: str, *beginning: str) -> list[str]:
    """The cells of the first row that begins so."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[: len(beginning)] == list(beginning):
            return cells
    raise AssertionError(f"no row {beginning} in\n{text}")


def target(text: str, measure: str, goal: str) -> list[str]:
    return next(
        cells
        for line in text.splitlines()
        if (cells := [cell.strip() for cell in line.strip("|").split("|")])[0] == measure and goal in line
    )


def test_a_cell_has_the_median_and_the_extremes_and_the_one_beside_it_the_ratio() -> None:
    text = report(run(sample(THIS, 0, rate=900), sample(THIS, 1, rate=1100), sample(ECHO, rate=8000)))

    cells = row(text, "calls", calls.MOST, "this")
    assert cells[4:6] == ["1,000 (900 to 1,100)", "0.125"]
    assert cells[-1] == "Connect echo"


def test_a_limit_is_held_against_nothing() -> None:
    assert row(report(run(sample(ECHO, rate=8000))), "calls", calls.MOST, "Connect echo")[4:6] == ["8,000", "-"]


def test_the_cpu_time_of_an_event_is_held_against_a_whole_call_of_the_echo() -> None:
    batch = Key(batches.NAME, batches.CASE, "this")
    batch_echo = Key(batches.NAME, batches.CASE, "Connect echo")
    text = report(run(sample(batch, rate=4000, cpu_ms=0.1), sample(batch_echo, rate=80_000), sample(ECHO, cpu_ms=0.1)))

    cells = row(text, "batches", batches.CASE, "this")
    assert cells[5] == "0.05"
    assert cells[11] == "1"
    assert cells[-1] == "a second: Connect echo; CPU ms: the echo's call"


def test_a_worker_is_held_against_the_slower_of_its_limits() -> None:
    pulls, flushes = (Key(limits.NAME, case, limits.WAY) for case in (limits.PULLS, limits.FLUSHES))
    drained = Key(drains.NAME, drains.CASE, "this")
    text = report(run(sample(pulls, rate=14_000), sample(flushes, rate=10_000), sample(drained, rate=4000)))

    assert row(text, "drain", drains.CASE, "this")[5] == "0.4"
    assert target(text, "worker, from a backlog", "slower")[1] == f"0.4 {TIMES} the slower of its limits"


@pytest.mark.parametrize(("rate", "holds"), [(800, "yes"), (799, "NO")])
def test_a_target_says_whether_it_holds(rate: float, holds: str) -> None:
    text = report(run(sample(THIS, rate=rate), sample(TEXTBOOK, rate=100)))

    assert target(text, "calls/s, 128 connections", "textbook")[-1] == holds


def test_a_target_that_was_not_measured_says_so_and_does_not_hold() -> None:
    text = report(run())

    for each in TARGETS:
        assert target(text, each.measure, each.unit)[1::2] == ["not measured", "-"]


def test_the_figure_of_bench_growth_is_among_the_targets() -> None:
    assert target(report(run(growth=1.1)), GROWTH.measure, "10,000 rows")[-1] == "yes"


def test_what_failed_is_listed() -> None:
    failing = run()
    failing.results.failures[TEXTBOOK] = "MeasurementError: no call was answered"

    assert "- calls, 128 connections, textbook: MeasurementError: no call was answered" in report(failing)
    assert "Failed" not in report(run())


def test_the_json_has_samples_machine_and_targets() -> None:
    said = as_json(run(sample(THIS, rate=800), sample(TEXTBOOK, rate=100)))

    assert said["machine"]["cores"] >= 1
    assert {"measure": "calls", "case": calls.MOST, "way": "this", "round": 0, "rate": 800} in said["samples"]
    assert [each["reached"] for each in said["targets"] if each["holds"]] == [8.0]


def test_measures_are_chosen_by_name_and_run_in_the_usual_order() -> None:
    assert [measure.name for measure in chosen("memory, calls")] == ["calls", "memory"]
    assert chosen("") == list(MEASURES)


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,346"), (99.94, "99.9"), (0.01234, "0.0123"), (0, "0")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_bar_in_a_cell_does_not_break_its_table() -> None:
    assert list(table(["a", "b"], [["x|y", "z"]]))[-1] == "| x/y | z |"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_as_long_as_its_name_says(payload: str) -> None:
    size = len(json.dumps(event_of(payload)["metadata"], separators=(",", ":")))
    named = float(payload.removesuffix(" KiB")) * 1024
    assert 0.5 * named < size <= min(named, 65_536)


def growth(**figures: dict[int, float]) -> GrowthRun:
    samples = [sample(key(CALLS, rows), rate=rate) for rows, rate in figures.get("calls", {}).items()]
    samples += [sample(key(DRAIN, rows), rate=rate) for rows, rate in figures.get("drain", {}).items()]
    return GrowthRun(
        options=Options(),
        machine=this_machine(),
        results=Results(samples),
        stages=(10_000, 1_000_000),
        stopped=None,
        seconds=600,
    )


def test_growth_says_how_many_times_worse() -> None:
    grown = growth(calls={10_000: 2000, 1_000_000: 1000}, drain={10_000: 4000, 1_000_000: 4000})

    assert row(growth_report(grown), "calls/s, 32 connections")[1:] == ["2,000", "1,000", "2"]
    assert grown.drained == 1.0


def test_growth_that_was_stopped_tells_the_bench_nothing(tmp_path: Path) -> None:
    assert growth(drain={10_000: 4000}).drained is None
    assert drained_growth(tmp_path / "growth.json") is None
    write_json(tmp_path / "growth.json", {DRAINED_GROWTH: None})
    assert drained_growth(tmp_path / "growth.json") is None


def test_what_growth_found_reaches_the_bench(tmp_path: Path) -> None:
    write_json(tmp_path / "growth.json", {DRAINED_GROWTH: 1.1})

    assert drained_growth(tmp_path / "growth.json") == 1.1


def parsed(chart: str) -> ET.Element:
    return ET.fromstring(chart)  # noqa: S314 - our own


@pytest.mark.parametrize(
    "chart",
    [
        bench_chart(Results()),
        bench_chart(Results([sample(THIS, rate=1000, cpu_ms=0.2), sample(ECHO, rate=8000, cpu_ms=0.1)])),
        bench_chart(Results([sample(THIS, rate=1000)])),
        growth_chart({}),
        growth_chart(growth(calls={10_000: 2000, 1_000_000: 1000}).curves()),
        growth_chart({"one <figure>": [(10_000, 1.0)]}),
    ],
)
def test_a_chart_is_an_svg_whatever_was_measured(chart: str) -> None:
    assert parsed(chart).tag.endswith("svg")


def test_a_chart_names_each_way_that_was_measured_with_its_figure() -> None:
    words = [
        each.text
        for each in parsed(bench_chart(Results([sample(THIS, rate=1000, cpu_ms=0.2)]))).iter()
        if each.tag.endswith("text")
    ]

    assert {"this", "1,000", "0.2"} <= set(words)
    assert "textbook" not in words

"""The circuit: when it opens and closes, and what it admits meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock
from tests.support.worker_world import PROBE_SECONDS, FixedRandom
from worker.circuit import (
    DEAD_LETTER_SHARE,
    DEAD_LETTERS_TO_OPEN,
    LONGEST_RETRY_AFTER_SECONDS,
    PROBE_MESSAGES,
    Admission,
    Circuit,
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def circuit(clock: ManualClock) -> Circuit:
    return Circuit(clock, probe_seconds=PROBE_SECONDS, rng=FixedRandom())


@asynccontextmanager
async def admitting(circuit: Circuit) -> AsyncIterator[list[Admission]]:
    """Somebody who waits for one admission."""
    admitted: list[Admission] = []

    async def wait() -> None:
        admitted.append(await circuit.admit())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        yield admitted
        tasks.cancel_scope.cancel()


async def is_admitted_after(circuit: Circuit, clock: ManualClock, seconds: float) -> bool:
    """Whether a probe is admitted that long from now, and not before."""
    async with admitting(circuit) as admitted:
        clock.advance(seconds * 0.99)
        await anyio.sleep(2 * PROBE_SECONDS)
        too_early = bool(admitted)
        clock.advance(seconds * 0.02)
        circuit._notify()  # rather than wait for as long as the clock now says has passed
        await eventually(lambda: admitted)
        circuit.leave(admitted[0])
        return not too_early


async def probe(circuit: Circuit, clock: ManualClock, seconds: float) -> Admission:
    clock.advance(seconds)
    with anyio.fail_after(1):
        return await circuit.admit()


async def test_while_closed_everybody_is_admitted_with_full_batches(circuit: Circuit) -> None:
    assert [await circuit.admit() for _ in range(3)] == [Admission(None)] * 3
    assert circuit.open_reason is None


async def test_three_failures_in_a_row_open_it_and_two_do_not(circuit: Circuit) -> None:
    circuit.failed("http_503")
    circuit.failed("timeout")
    assert circuit.open_reason is None

    circuit.failed("http_503")

    assert circuit.open_reason == "http_503"


@pytest.mark.parametrize("confirmed", [True, False])
async def test_an_answer_in_between_starts_the_count_again(circuit: Circuit, confirmed: bool) -> None:
    circuit.failed("http_503")
    circuit.failed("http_503")
    circuit.answered(confirmed=confirmed)
    circuit.failed("http_503")
    circuit.failed("http_503")

    assert circuit.open_reason is None


async def test_a_refusal_opens_it_at_once(circuit: Circuit) -> None:
    circuit.open("http_401")

    assert circuit.open_reason == "http_401"


async def test_while_open_nothing_is_admitted_until_the_first_wait_is_over(
    circuit: Circuit, clock: ManualClock
) -> None:
    circuit.open("http_503")

    assert await is_admitted_after(circuit, clock, PROBE_SECONDS)


async def test_one_small_probe_at_a_time_is_admitted(circuit: Circuit, clock: ManualClock) -> None:
    circuit.open("http_503")

    first = await probe(circuit, clock, PROBE_SECONDS)

    assert first == Admission(PROBE_MESSAGES)
    assert first.is_probe
    async with admitting(circuit) as admitted:
        await anyio.sleep(2 * PROBE_SECONDS)
        assert not admitted
        circuit.leave(first)  # it told nothing: the next one at once
        await eventually(lambda: admitted)


async def test_a_cancelled_wait_for_admission_does_not_take_the_probe(circuit: Circuit, clock: ManualClock) -> None:
    circuit.open("http_503")
    async with admitting(circuit):
        pass

    assert (await probe(circuit, clock, PROBE_SECONDS)).is_probe


async def test_each_failed_probe_doubles_the_wait_up_to_ten_times_the_first(
    circuit: Circuit, clock: ManualClock
) -> None:
    circuit.open("http_503")
    clock.advance(PROBE_SECONDS)
    for factor in (2, 4, 8, 10, 10):
        admission = await circuit.admit()
        circuit.failed("http_503")
        circuit.leave(admission)
        assert circuit._probe_at == pytest.approx(clock.monotonic() + factor * PROBE_SECONDS)
        clock.advance(factor * PROBE_SECONDS)


async def test_the_wait_starts_anew_after_it_was_closed(circuit: Circuit, clock: ManualClock) -> None:
    circuit.open("http_503")
    admission = await probe(circuit, clock, PROBE_SECONDS)
    circuit.failed("http_503")
    circuit.leave(admission)
    circuit.answered(confirmed=True)

    circuit.open("http_503")

    assert await is_admitted_after(circuit, clock, PROBE_SECONDS)


async def test_retry_after_is_waited_for(circuit: Circuit, clock: ManualClock) -> None:
    circuit.open("http_429", 100 * PROBE_SECONDS)

    assert await is_admitted_after(circuit, clock, 100 * PROBE_SECONDS)


async def test_an_absurd_retry_after_is_not_believed(circuit: Circuit, clock: ManualClock) -> None:
    circuit.open("http_429", 1e9)

    assert await is_admitted_after(circuit, clock, LONGEST_RETRY_AFTER_SECONDS)


async def test_jitter_only_ever_lengthens_the_wait(clock: ManualClock) -> None:
    rng = FixedRandom(share=1.0)
    circuit = Circuit(clock, probe_seconds=PROBE_SECONDS, rng=rng)

    circuit.open("http_503")

    assert rng.bounds == [(1.0, 1.25)]
    assert await is_admitted_after(circuit, clock, PROBE_SECONDS * 1.25)


async def test_what_failed_from_before_it_opened_does_not_put_off_the_probe(
    circuit: Circuit, clock: ManualClock
) -> None:
    circuit.open("http_503")
    clock.advance(PROBE_SECONDS / 2)

    circuit.failed("timeout")

    assert circuit.open_reason == "http_503"
    assert await is_admitted_after(circuit, clock, PROBE_SECONDS / 2)


async def test_a_confirmation_closes_it_and_wakes_everybody(circuit: Circuit) -> None:
    circuit.open("http_503")
    async with admitting(circuit) as one, admitting(circuit) as other:
        circuit.answered(confirmed=True)
        await eventually(lambda: one and other)

    assert one == other == [Admission(None)]
    assert circuit.open_reason is None


@pytest.mark.parametrize("reason", ["http_503", "http_401", "storage_unavailable", "crashed"])
async def test_a_rejection_closes_it_too(circuit: Circuit, reason: str) -> None:
    circuit.open(reason)

    circuit.answered(confirmed=False)

    assert circuit.open_reason is None


async def test_a_rejection_does_not_close_what_rejections_opened_but_a_confirmation_does(circuit: Circuit) -> None:
    circuit.open(DEAD_LETTER_SHARE)
    circuit.answered(confirmed=False)
    assert circuit.open_reason == DEAD_LETTER_SHARE

    circuit.answered(confirmed=True)

    assert circuit.open_reason is None


async def test_what_recovers_closes_it_only_for_its_own_reason(circuit: Circuit) -> None:
    circuit.open("http_503")
    circuit.recovered("storage_unavailable")
    assert circuit.open_reason == "http_503"
    circuit.answered(confirmed=True)
    circuit.open("storage_unavailable")

    circuit.recovered("storage_unavailable")

    assert circuit.open_reason is None


async def test_a_few_dead_letters_are_believed(circuit: Circuit) -> None:
    for _ in range(DEAD_LETTERS_TO_OPEN - 1):
        assert circuit.admits_dead_letters(rejected=1, delivered=0)

    assert circuit.open_reason is None


async def test_many_dead_letters_among_more_deliveries_are_believed(circuit: Circuit) -> None:
    assert circuit.admits_dead_letters(rejected=0, delivered=60)
    assert circuit.admits_dead_letters(rejected=59, delivered=1)


async def test_more_dead_letters_than_deliveries_open_it(circuit: Circuit) -> None:
    assert circuit.admits_dead_letters(rejected=0, delivered=DEAD_LETTERS_TO_OPEN - 1)

    assert not circuit.admits_dead_letters(rejected=DEAD_LETTERS_TO_OPEN, delivered=0)

    assert circuit.open_reason == DEAD_LETTER_SHARE


async def test_deliveries_of_long_ago_do_not_excuse_dead_letters(circuit: Circuit) -> None:
    assert circuit.admits_dead_letters(rejected=0, delivered=10_000)
    for _ in range(6):
        assert circuit.admits_dead_letters(rejected=15, delivered=5)

    assert not circuit.admits_dead_letters(rejected=15, delivered=5)


async def test_twenty_rejections_with_nothing_confirmed_between_them_are_not_believed(circuit: Circuit) -> None:
    assert circuit.admits_dead_letters(rejected=0, delivered=10_000)
    assert circuit.admits_dead_letters(rejected=19, delivered=0)

    assert not circuit.admits_dead_letters(rejected=1, delivered=0)


async def test_a_confirmation_between_rejections_starts_their_count_anew(circuit: Circuit) -> None:
    for _ in range(3):
        assert circuit.admits_dead_letters(rejected=15, delivered=0)
        assert circuit.admits_dead_letters(rejected=0, delivered=40)


async def test_a_pause_that_statsig_asked_for_is_everybodys_and_bounded(circuit: Circuit, clock: ManualClock) -> None:
    circuit.ask_for_quiet(7)
    circuit.ask_for_quiet(2)
    assert circuit.quiet_seconds() == 7
    circuit.ask_for_quiet(1e9)
    assert circuit.quiet_seconds() == LONGEST_RETRY_AFTER_SECONDS
    clock.advance(LONGEST_RETRY_AFTER_SECONDS)

    assert circuit.quiet_seconds() == 0


async def test_a_probe_of_rejections_keeps_it_open_and_doubles_the_wait(circuit: Circuit, clock: ManualClock) -> None:
    circuit.open(DEAD_LETTER_SHARE)
    admission = await probe(circuit, clock, PROBE_SECONDS)
    circuit.answered(confirmed=False)

    assert not circuit.admits_dead_letters(rejected=PROBE_MESSAGES, delivered=0)

    circuit.leave(admission)
    assert await is_admitted_after(circuit, clock, 2 * PROBE_SECONDS)

"""The circuit: when it opens and closes, and what it admits meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest

from tests.support.eventually import eventually
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.worker_world import PROBE_SECONDS, FixedRandom
from worker.circuit import (
    BURST_SILENCE_SECONDS,
    FAILURES_IN_A_BURST,
    FAILURES_TO_OPEN,
    LONGEST_QUIET_SECONDS,
    LONGEST_RETRY_AFTER_SECONDS,
    REJECTIONS_TO_OPEN,
    SILENCE_SECONDS,
    Admission,
    Circuit,
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def circuit(clock: ManualClock) -> Circuit:
    return Circuit(clock, probe_seconds=PROBE_SECONDS, rng=FixedRandom())


def fail(circuit: Circuit, times: int, reason: str = "http_503", retry_after: float | None = None) -> None:
    for _ in range(times):
        circuit.failed(reason, retry_after)


def open_it(circuit: Circuit) -> None:
    fail(circuit, FAILURES_TO_OPEN)
    assert circuit.open_reason == "http_503"


def test_when_it_is_next_tried_is_known_while_it_is_open(circuit: Circuit, clock: ManualClock) -> None:
    def wait() -> timedelta | None:
        return None if circuit.next_probe_at is None else circuit.next_probe_at - clock.now()

    waits = [wait()]
    open_it(circuit)
    waits.append(wait())
    circuit.failed("http_429", 20.0, is_limit=True, is_probe=True)
    waits.append(wait())
    circuit.confirmed()
    waits.append(wait())

    closed, opened, asked, closed_again = waits
    assert (closed, closed_again) == (None, None)
    assert opened is not None
    assert timedelta(seconds=PROBE_SECONDS) <= opened <= timedelta(seconds=1.25 * PROBE_SECONDS)
    assert asked is not None
    assert asked >= timedelta(seconds=20)


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
    """Whether somebody is admitted that long from now, and not before."""
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


async def test_while_closed_everybody_is_admitted_at_once(circuit: Circuit) -> None:
    assert [await circuit.admit() for _ in range(3)] == [Admission(is_probe=False)] * 3
    assert (circuit.open_reason, circuit.open_since) == (None, None)


async def test_three_failures_in_a_row_open_it_and_two_do_not(circuit: Circuit) -> None:
    circuit.failed("http_503")
    circuit.failed("timeout")
    assert circuit.open_reason is None

    circuit.failed("http_401")

    assert circuit.open_reason == "http_401"


async def test_a_refusal_is_a_failure_like_others(circuit: Circuit) -> None:
    circuit.failed("http_401")

    assert circuit.open_reason is None


async def test_a_confirmation_in_between_starts_the_count_again(circuit: Circuit, clock: ManualClock) -> None:
    fail(circuit, 2)
    circuit.confirmed()
    clock.advance(SILENCE_SECONDS + 0.1)
    fail(circuit, 2)
    assert circuit.open_reason is None

    circuit.failed("http_503")

    assert circuit.open_reason == "http_503"


async def test_while_others_were_confirmed_just_now_a_few_failures_do_not_open_it(
    circuit: Circuit, clock: ManualClock
) -> None:
    circuit.confirmed()
    clock.advance(SILENCE_SECONDS * 0.9)
    fail(circuit, FAILURES_IN_A_BURST - 2)
    assert circuit.open_reason is None
    clock.advance(SILENCE_SECONDS * 0.2)  # and now nothing was for too long

    circuit.failed("http_503")

    assert circuit.open_reason == "http_503"


async def test_a_burst_of_failures_opens_it_after_a_shorter_silence(circuit: Circuit, clock: ManualClock) -> None:
    circuit.confirmed()
    fail(circuit, FAILURES_IN_A_BURST)
    assert circuit.open_reason is None  # another lane may have confirmed something between two of them
    clock.advance(BURST_SILENCE_SECONDS + 0.01)

    circuit.failed("http_503")

    assert circuit.open_reason == "http_503"


async def test_many_rejections_in_a_row_open_it_and_fewer_do_not(circuit: Circuit) -> None:
    for _ in range(REJECTIONS_TO_OPEN - 1):
        circuit.rejected("http_400")
    assert circuit.open_reason is None

    circuit.rejected("http_422")

    assert circuit.open_reason == "http_422"


async def test_a_confirmation_between_rejections_starts_their_count_again(circuit: Circuit) -> None:
    for _ in range(3):
        for _ in range(REJECTIONS_TO_OPEN - 1):
            circuit.rejected("http_400")
        assert circuit.open_reason is None
        circuit.confirmed()


async def test_rejections_are_no_failures_of_the_destination(circuit: Circuit) -> None:
    fail(circuit, FAILURES_TO_OPEN - 1)
    for _ in range(REJECTIONS_TO_OPEN - 1):
        circuit.rejected("http_400")

    assert circuit.open_reason is None


async def test_while_open_nothing_is_admitted_until_the_first_wait_is_over(
    circuit: Circuit, clock: ManualClock
) -> None:
    open_it(circuit)

    assert await is_admitted_after(circuit, clock, PROBE_SECONDS)


async def test_one_probe_at_a_time_is_admitted(circuit: Circuit, clock: ManualClock) -> None:
    open_it(circuit)

    first = await probe(circuit, clock, PROBE_SECONDS)

    assert first == Admission(is_probe=True)
    async with admitting(circuit) as admitted:
        await anyio.sleep(2 * PROBE_SECONDS)
        assert not admitted
        circuit.leave(first)  # it told nothing: the next one soon
        clock.advance(PROBE_SECONDS)
        await eventually(lambda: admitted)


async def test_a_cancelled_wait_for_admission_does_not_take_the_probe(circuit: Circuit, clock: ManualClock) -> None:
    open_it(circuit)
    async with admitting(circuit):
        pass

    assert (await probe(circuit, clock, PROBE_SECONDS)).is_probe


async def test_each_failed_probe_doubles_the_wait_up_to_ten_times_the_first(
    circuit: Circuit, clock: ManualClock
) -> None:
    open_it(circuit)
    clock.advance(PROBE_SECONDS)
    for factor in (2, 4, 8, 10, 10):
        admission = await circuit.admit()
        circuit.failed("http_503", is_probe=True)
        circuit.leave(admission)
        assert circuit._probe_at == pytest.approx(clock.monotonic() + factor * PROBE_SECONDS)
        clock.advance(factor * PROBE_SECONDS)


async def test_a_rejected_probe_is_followed_by_another_after_the_first_wait_and_keeps_it_open(
    circuit: Circuit, clock: ManualClock
) -> None:
    open_it(circuit)
    failed = await probe(circuit, clock, PROBE_SECONDS)
    circuit.failed("http_503", is_probe=True)
    circuit.leave(failed)
    for _ in range(3):
        rejected = await probe(circuit, clock, 2 * PROBE_SECONDS)
        circuit.rejected("http_400", is_probe=True)
        circuit.leave(rejected)
        assert circuit.open_reason == "http_400"
        assert circuit._probe_at == pytest.approx(clock.monotonic() + PROBE_SECONDS)


async def test_the_wait_starts_anew_after_it_was_closed(circuit: Circuit, clock: ManualClock) -> None:
    open_it(circuit)
    admission = await probe(circuit, clock, PROBE_SECONDS)
    circuit.failed("http_503")
    circuit.leave(admission)
    circuit.confirmed()
    clock.advance(SILENCE_SECONDS + 0.1)

    open_it(circuit)

    assert await is_admitted_after(circuit, clock, PROBE_SECONDS)


async def test_while_open_retry_after_is_waited_for(circuit: Circuit, clock: ManualClock) -> None:
    fail(circuit, FAILURES_TO_OPEN, "http_429", 100.0)

    assert circuit.open_reason == "http_429"
    assert await is_admitted_after(circuit, clock, 100.0)


async def test_an_absurd_retry_after_is_not_believed(circuit: Circuit, clock: ManualClock) -> None:
    fail(circuit, FAILURES_TO_OPEN, "http_429", 1e9)

    assert await is_admitted_after(circuit, clock, LONGEST_RETRY_AFTER_SECONDS)


async def test_while_closed_a_retry_after_is_everybodys_pause(circuit: Circuit, clock: ManualClock) -> None:
    circuit.failed("http_429", 7)
    circuit.failed("http_503", 2)

    assert circuit.quiet_seconds() == 7
    assert await is_admitted_after(circuit, clock, 7)
    assert circuit.quiet_seconds() == 0


async def test_while_closed_a_retry_after_is_bounded(circuit: Circuit, clock: ManualClock) -> None:
    circuit.failed("http_429", 1e9)

    assert circuit.open_reason is None
    assert circuit.quiet_seconds() == LONGEST_QUIET_SECONDS
    assert await is_admitted_after(circuit, clock, LONGEST_QUIET_SECONDS)


async def test_jitter_only_ever_lengthens_the_wait(clock: ManualClock) -> None:
    rng = FixedRandom(share=1.0)
    circuit = Circuit(clock, probe_seconds=PROBE_SECONDS, rng=rng)

    open_it(circuit)

    assert rng.bounds == [(1.0, 1.25)]
    assert await is_admitted_after(circuit, clock, PROBE_SECONDS * 1.25)


async def test_what_failed_from_before_it_opened_does_not_put_off_the_probe(
    circuit: Circuit, clock: ManualClock
) -> None:
    open_it(circuit)
    clock.advance(PROBE_SECONDS / 2)

    circuit.failed("timeout")
    circuit.rejected("http_400")

    assert circuit.open_reason == "http_503"
    assert await is_admitted_after(circuit, clock, PROBE_SECONDS / 2)


async def test_a_confirmation_closes_it_and_wakes_everybody(circuit: Circuit) -> None:
    open_it(circuit)
    async with admitting(circuit) as one, admitting(circuit) as other:
        circuit.confirmed()
        await eventually(lambda: one and other)

    assert one == other == [Admission(is_probe=False)]
    assert (circuit.open_reason, circuit.open_since) == (None, None)


async def test_since_when_it_is_open_stays_the_same_while_probes_fail(circuit: Circuit, clock: ManualClock) -> None:
    open_it(circuit)
    opened = clock.now()
    admission = await probe(circuit, clock, 30)
    circuit.failed("timeout", is_probe=True)
    circuit.leave(admission)

    assert circuit.open_since == opened == clock.now() - timedelta(seconds=30)
    assert circuit.open_reason == "timeout"


async def test_it_tells_whether_anything_was_confirmed_since_a_moment(circuit: Circuit, clock: ManualClock) -> None:
    began = clock.monotonic()
    assert not circuit.confirmed_since(began - 1e6)
    clock.advance(1)
    circuit.confirmed()
    confirmed = clock.monotonic()
    clock.advance(1)

    assert circuit.confirmed_since(began)
    assert circuit.confirmed_since(confirmed)
    assert not circuit.confirmed_since(clock.monotonic())

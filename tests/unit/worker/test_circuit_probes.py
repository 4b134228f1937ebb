"""What an open circuit admits, and when: probes, growing waits, Retry-After."""

import anyio
import pytest

from tests.support.eventually import eventually
from tests.support.fakes.circuit_probing import admitting, fail, is_admitted_after, open_it, probe
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.worker_world import PROBE_SECONDS, FixedRandom
from worker.circuit import (
    FAILURES_TO_OPEN,
    LONGEST_RETRY_AFTER_SECONDS,
    MAX_RETRY_AFTER_PAUSE_SECONDS,
    REJECTED_PROBE_WAIT_SECONDS,
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


async def test_a_rejected_probe_is_followed_by_another_after_a_short_wait_and_keeps_it_open(clock: ManualClock) -> None:
    circuit = Circuit(clock, probe_seconds=5.0, rng=FixedRandom())
    open_it(circuit)
    failed = await probe(circuit, clock, 5.0)
    circuit.failed("http_503", is_probe=True)
    circuit.leave(failed)
    wait = 10.0
    for _ in range(3):
        rejected = await probe(circuit, clock, wait)
        circuit.rejected("http_400", is_probe=True)
        circuit.leave(rejected)
        wait = REJECTED_PROBE_WAIT_SECONDS
        assert circuit.open_reason == "http_400"
        assert circuit._probe_at == pytest.approx(clock.monotonic() + wait)


async def test_a_failed_probe_after_rejected_ones_is_followed_by_the_usual_wait(clock: ManualClock) -> None:
    circuit = Circuit(clock, probe_seconds=5.0, rng=FixedRandom())
    open_it(circuit)
    rejected = await probe(circuit, clock, 5.0)
    circuit.rejected("http_400", is_probe=True)
    circuit.leave(rejected)
    failed = await probe(circuit, clock, REJECTED_PROBE_WAIT_SECONDS)
    circuit.failed("http_503", is_probe=True)
    circuit.leave(failed)

    assert circuit._probe_at == pytest.approx(clock.monotonic() + 5.0)


async def test_the_wait_starts_anew_after_it_was_closed(circuit: Circuit, clock: ManualClock) -> None:
    open_it(circuit)
    admission = await probe(circuit, clock, PROBE_SECONDS)
    circuit.failed("http_503", is_probe=True)
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

    assert circuit.retry_after_remaining_seconds() == 7
    assert await is_admitted_after(circuit, clock, 7)
    assert circuit.retry_after_remaining_seconds() == 0


async def test_while_closed_a_retry_after_is_bounded(circuit: Circuit, clock: ManualClock) -> None:
    circuit.failed("http_429", 1e9)

    assert circuit.open_reason is None
    assert circuit.retry_after_remaining_seconds() == MAX_RETRY_AFTER_PAUSE_SECONDS
    assert await is_admitted_after(circuit, clock, MAX_RETRY_AFTER_PAUSE_SECONDS)


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

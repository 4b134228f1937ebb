"""The circuit: when it opens and closes."""

from datetime import timedelta

import pytest

from tests.support.eventually import eventually
from tests.support.fakes.circuit_probing import admitting, fail, open_it, probe
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.worker_world import PROBE_SECONDS, FixedRandom
from worker.circuit import (
    BURST_SILENCE_SECONDS,
    FAILURES_IN_A_BURST,
    FAILURES_TO_OPEN,
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

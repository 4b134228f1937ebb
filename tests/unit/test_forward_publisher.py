"""A Pub/Sub outage costs callers no time: after failures the publisher pauses, then probes with one publish."""

import anyio
import pytest

from ingress.forward_publisher import LONGEST_PAUSE_SECONDS, ForwardPublisher
from shared.errors import PublishFailedError
from tests.support.clock import ManualClock
from tests.support.committing import MemoryPublisher, until_idle
from tests.support.events import event


class Fixture:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.port = MemoryPublisher()
        self.publisher = ForwardPublisher(self.port, self.clock)

    async def publish(self) -> bool:
        return await self.publisher.publish([event()])

    async def fail(self, times: int) -> None:
        self.port.failure = PublishFailedError("down")
        for _ in range(times):
            assert await self.publish() is False


async def test_publishes_all_events_in_one_request() -> None:
    fixture = Fixture()

    assert await fixture.publisher.publish([event(), event()]) is True
    assert [len(batch) for batch in fixture.port.published] == [2]


async def test_nothing_to_publish_is_no_request() -> None:
    fixture = Fixture()

    assert await fixture.publisher.publish([]) is False
    assert fixture.port.attempts == 0


async def test_one_failure_does_not_pause() -> None:
    fixture = Fixture()
    await fixture.fail(1)
    fixture.port.failure = None

    assert await fixture.publish() is True


async def test_two_failures_in_a_row_pause() -> None:
    fixture = Fixture()
    await fixture.fail(5)

    assert fixture.port.attempts == 2


async def test_failures_with_a_success_between_do_not_pause() -> None:
    fixture = Fixture()
    for _ in range(3):
        await fixture.fail(1)
        fixture.port.failure = None
        assert await fixture.publish() is True


async def test_one_publish_probes_when_the_pause_is_over() -> None:
    fixture = Fixture()
    await fixture.fail(2)
    fixture.clock.advance(1.0)
    fixture.port.gate = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fixture.publish)
        await until_idle()
        assert await fixture.publish() is False  # while the probe is under way
        assert fixture.port.attempts == 3
        fixture.port.gate.set()


async def test_a_probe_that_succeeds_ends_the_outage() -> None:
    fixture = Fixture()
    await fixture.fail(2)
    fixture.clock.advance(1.0)
    fixture.port.failure = None

    assert await fixture.publish() is True
    await fixture.fail(1)
    fixture.port.failure = None
    assert await fixture.publish() is True  # the count began anew


async def test_pauses_double_up_to_half_a_minute() -> None:
    fixture = Fixture()
    await fixture.fail(2)
    pauses = []
    for _ in range(8):
        waited = 0.0
        tried = fixture.port.attempts
        while fixture.port.attempts == tried:
            fixture.clock.advance(0.5)
            waited += 0.5
            await fixture.publish()
        pauses.append(waited)

    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert max(pauses) == LONGEST_PAUSE_SECONDS


async def test_an_outage_of_hours_still_ends() -> None:
    fixture = Fixture()
    await fixture.fail(2)
    for _ in range(2000):
        fixture.clock.advance(LONGEST_PAUSE_SECONDS)
        await fixture.publish()
    fixture.port.failure = None
    fixture.clock.advance(LONGEST_PAUSE_SECONDS)

    assert await fixture.publish() is True


async def test_a_bug_is_not_taken_for_an_outage() -> None:
    fixture = Fixture()
    fixture.port.failure = RuntimeError("a bug")
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await fixture.publish()

    assert fixture.port.attempts == 3

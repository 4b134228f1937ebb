"""A Pub/Sub outage costs callers no time: after failures the publisher pauses, then probes with one publish."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import anyio
import pytest
from anyio.abc import TaskGroup

from ingress.commit.forward_publisher import LONGEST_PAUSE_SECONDS, ForwardPublisher
from shared.errors import PublishFailedError
from tests.support.fakes.committing import MemoryPublisher, row, until_idle
from tests.support.fakes.manual_clock import ManualClock
from tests.support.sample_events import bare_event


class Fixture:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.port = MemoryPublisher()
        # `publish` needs no task group; what is handed over has one in `handing_over`.
        self.publisher = ForwardPublisher(self.port, self.clock, task_group=cast("TaskGroup", None))

    @asynccontextmanager
    async def handing_over(self) -> AsyncIterator[ForwardPublisher]:
        async with anyio.create_task_group() as tasks:
            yield ForwardPublisher(self.port, self.clock, task_group=tasks, gather_seconds=0)

    async def publish(self) -> bool:
        return await self.publisher.publish([bare_event()])

    async def fail(self, times: int) -> None:
        self.port.failure = PublishFailedError("down")
        for _ in range(times):
            assert await self.publish() is False


async def test_publishes_all_events_in_one_request() -> None:
    fixture = Fixture()

    assert await fixture.publisher.publish([bare_event(), bare_event()]) is True
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


async def test_what_gathers_behind_a_publish_is_published_before_the_task_group_ends() -> None:
    fixture = Fixture()
    fixture.port.gate = anyio.Event()

    async with fixture.handing_over() as publisher:
        publisher.hand_over([row()])
        await until_idle()
        for _ in range(3):
            publisher.hand_over([row(), row()])
        fixture.port.gate.set()

    assert [len(batch) for batch in fixture.port.published] == [1, 6]


@pytest.mark.parametrize("bound", ["MAX_GATHERED_EVENTS", "MAX_GATHERED_BYTES"])
async def test_what_there_is_no_room_for_is_left_to_the_reconciler(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = row()
    monkeypatch.setattr(
        f"ingress.commit.forward_publisher.{bound}", 2 if bound == "MAX_GATHERED_EVENTS" else 2 * len(one.metadata_json)
    )
    fixture = Fixture()
    fixture.port.gate = anyio.Event()

    async with fixture.handing_over() as publisher:
        publisher.hand_over([row()])
        await until_idle()
        for _ in range(5):
            publisher.hand_over([row()])
        fixture.port.gate.set()

    assert [len(batch) for batch in fixture.port.published] == [1, 2]


async def test_a_publish_takes_no_more_than_pubsub_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingress.commit.forward_publisher.MAX_PUBLISHED_EVENTS", 2)
    fixture = Fixture()

    async with fixture.handing_over() as publisher:
        publisher.hand_over([row() for _ in range(5)])

    assert [len(batch) for batch in fixture.port.published] == [2, 2, 1]


@pytest.mark.parametrize("failure", [PublishFailedError("down"), RuntimeError("a bug")])
async def test_what_fails_does_not_keep_the_next_from_being_published(failure: Exception) -> None:
    fixture = Fixture()
    fixture.port.failure = failure

    async with fixture.handing_over() as publisher:
        publisher.hand_over([row()])
        await until_idle()
        fixture.port.failure = None
        publisher.hand_over([row()])

    assert [len(batch) for batch in fixture.port.published] == [1]

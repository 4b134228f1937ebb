"""Rows that cannot be published: refused by Pub/Sub, undecodable, or tripping a bug. The others are published."""

from typing import Any

import pytest

from shared.errors import PublishFailedError, StorageUnavailableError
from shared.events import forward_message
from shared.events.event import Event
from shared.events.republish_ledger import Marked
from tests.support.fakes.reconciling import AFTER_SECONDS, OLD_SECONDS, ReconcilingWorld
from tests.support.sample_events import sample_event, sample_row
from worker.reconciler import PAGE_EVENTS


@pytest.fixture
async def world() -> ReconcilingWorld:
    return ReconcilingWorld()


class Picky:
    """A topic that refuses one event's message, and with it the request."""

    def __init__(self, world: ReconcilingWorld, event_id: str, error: Exception) -> None:
        self._topic = world.topic
        self._event_id = event_id
        self._error = error

    async def publish(self, messages: list[forward_message.OutgoingMessage]) -> None:
        if any(message.attributes["event_id"] == self._event_id for message in messages):
            raise self._error
        await self._topic.publish(messages)


@pytest.mark.parametrize("error", [PublishFailedError("refused"), RuntimeError("a bug")])
@pytest.mark.parametrize("place", [0, 3, 9])
async def test_a_message_that_is_refused_spoils_no_other(world: ReconcilingWorld, error: Exception, place: int) -> None:
    events = await world.committed(10, shard=7)
    world.clock.advance(OLD_SECONDS)
    bad = events.pop(place)
    world.topic, topic = Picky(world, bad.event_id, error), world.topic  # type: ignore[assignment]
    mine = world.reconciler()

    assert await mine.reconcile() == 9
    assert await mine.reconcile() == 0, "its time has not come"

    assert [message.attributes["event_id"] for message in topic.published] == [event.event_id for event in events]
    assert world.row(bad.event_id).republished == 1


async def test_a_row_that_trips_a_bug_is_skipped_and_the_rest_is_published(
    world: ReconcilingWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = await world.committed(PAGE_EVENTS + 10, shard=7)
    world.clock.advance(OLD_SECONDS)
    bad = events[3].event_id
    mark = world.republishing.mark_republished

    async def trips(event_ids: list[str], **given: Any) -> list[Marked]:
        if bad in event_ids:
            raise RuntimeError("a bug")
        return await mark(event_ids, **given)

    monkeypatch.setattr(world.republishing, "mark_republished", trips)

    assert await world.reconciler().reconcile() == PAGE_EVENTS + 10 - 1

    assert set(world.published_ids) == {event.event_id for event in events} - {bad}
    out = capsys.readouterr().out
    assert "reconcile_crashed" in out
    assert "reconcile_row_skipped" in out
    assert bad in out


async def test_a_row_of_which_no_message_can_be_made_is_skipped(
    world: ReconcilingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await world.committed(2, shard=7)
    world.clock.advance(OLD_SECONDS)
    encode = forward_message.encode

    def trips(event: Event) -> forward_message.OutgoingMessage:
        if event.event_id == bad.event_id:
            raise RuntimeError("a bug")
        return encode(event)

    monkeypatch.setattr(forward_message, "encode", trips)

    assert await world.reconciler().reconcile() == 1
    assert world.published_ids == [good.event_id]


@pytest.mark.parametrize("metadata_json", [None, "[]"], ids=["a blank name", "metadata that is no object"])
async def test_a_row_of_which_no_event_can_be_made_is_dead_lettered_once_and_spoils_nothing(
    world: ReconcilingWorld, metadata_json: str | None
) -> None:
    (good,) = await world.committed(1)
    # Only a hand or a bug can write it: the ingress refuses a blank name, and its metadata is an object.
    bad = sample_event("" if metadata_json is None else "order_paid")
    await world.repository.append([sample_row(bad, metadata_json=metadata_json)])
    for _ in range(2):
        world.clock.advance(AFTER_SECONDS * 2)
        await world.reconciler().reconcile()

    (letter,) = world.dead_letter_topic.published
    assert letter.attributes["dead_letter_reason"] == "undecodable"
    assert letter.attributes["event_id"] == bad.event_id
    assert world.row(bad.event_id).state == "DEAD"
    assert set(world.published_ids) == {good.event_id}


async def test_a_row_whose_dead_letter_could_not_be_published_is_released(world: ReconcilingWorld) -> None:
    bad = sample_event("")
    await world.repository.append([sample_row(bad)])
    world.clock.advance(AFTER_SECONDS * 2)
    world.dead_letter_topic.failures.fail_next("publish", PublishFailedError("down"))

    with pytest.raises(PublishFailedError):
        await world.reconciler().reconcile()

    row = world.row(bad.event_id)
    assert (row.claim_token, row.attempts, row.possible_duplicates) == (None, 0, 0)


@pytest.mark.parametrize("call", ["claim", "settle_dead"])
async def test_what_could_not_be_dead_lettered_is_so_later(world: ReconcilingWorld, call: str) -> None:
    bad = sample_event("")
    await world.repository.append([sample_row(bad)])
    world.clock.advance(AFTER_SECONDS * 2)
    world.ledger.failures.fail_next(call, StorageUnavailableError("down"))
    mine = world.reconciler()
    with pytest.raises(StorageUnavailableError):
        await mine.reconcile()

    for _ in range(3):
        world.clock.advance(OLD_SECONDS)
        await mine.reconcile()

    assert world.row(bad.event_id).state == "DEAD"

"""What every Erasure does, and what the other ports then make of the events that were erased.

One module, although a long one: an erasure is only as good as what each of the other ports does after it.
"""

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.events.erasure import ActorEvent, Cursor, EventState, Found
from shared.events.event import Event
from shared.events.forward_ledger import ClaimOutcome, ClaimResult
from shared.events.replay_ledger import ReopenOutcome
from tests.support.emulators.claiming import LONG, SHORT, attempt, row_of, token
from tests.support.emulators.dead_letters import EVERYTHING, all_of, letter, poison
from tests.support.emulators.storages import Storage
from tests.support.sample_events import in_shard, sample_event, sample_row

ACTOR = "actor-1"
LATER = timedelta(hours=1)
BRIEF = 2.0
"""Of a claim that is still live at the next call, on a busy machine too."""


async def logged(storage: Storage, actor_id: str | None = ACTOR, *, forward: bool = True, **fields: Any) -> Event:
    event = sample_event(actor_id=actor_id, **fields)
    await storage.repository.append([sample_row(event, forward=forward)])
    return event


async def found_of(storage: Storage, actor_id: str, *, before: datetime | None = None) -> list[ActorEvent]:
    before = before or await storage.now() + LATER
    found: list[ActorEvent] = []
    cursor: Cursor | None = None
    while True:
        page = await storage.erasure.search(actor_id, before=before, cursor=cursor)
        found += page.events
        if page.cursor is None:
            return found
        cursor = page.cursor


async def claim_of(storage: Storage, event_id: str) -> ClaimOutcome:
    return (await storage.ledger.claim([event_id], token=token(), seconds=LONG))[event_id].outcome


async def gone(storage: Storage, event: Event) -> bool:
    rows = (await storage.logged(event.event_id), await storage.ledger_row(event.event_id))
    return rows == (None, None) and await all_of(storage, event.event_id) == []


async def test_a_search_finds_each_event_of_the_actor_once_in_every_shard(storage: Storage) -> None:
    one_shard = [await logged(storage, event_id=in_shard(3)) for _ in range(8)]
    others = [await logged(storage, event_id=in_shard(shard)) for shard in (0, 7, 31)]
    await storage.repository.append([sample_row(actor_id=other) for other in ("actor-2", "ACTOR-1", None)])
    together = [sample_row(sample_event(actor_id=ACTOR, event_id=in_shard(9))) for _ in range(7)]
    await storage.repository.append(together)

    found = await found_of(storage, ACTOR)

    ours = {event.event_id for event in [*one_shard, *others]} | {row.event.event_id for row in together}
    assert sorted(each.event_id for each in found) == sorted(ours)
    now = await storage.now()
    assert all(now - LATER < each.ingested_at <= now for each in found)


async def test_a_search_finds_nothing_that_was_ingested_later_and_nothing_in_an_empty_log(storage: Storage) -> None:
    assert await found_of(storage, ACTOR) == []
    earlier = await logged(storage)
    await storage.time_passes(0.01)
    before = await storage.now()
    await storage.time_passes(0.01)
    await logged(storage)

    found = await found_of(storage, ACTOR, before=before)

    assert [each.event_id for each in found] == [earlier.event_id]


async def test_a_search_goes_on_behind_what_was_deleted_meanwhile(storage: Storage) -> None:
    for _ in range(6):
        await logged(storage, event_id=in_shard(3))
    seen: list[str] = []
    before, cursor = await storage.now() + LATER, None
    while True:
        page = await storage.erasure.search(ACTOR, before=before, cursor=cursor)
        await storage.erasure.erase([each.event_id for each in page.events])
        seen += [each.event_id for each in page.events]
        if (cursor := page.cursor) is None:
            break

    assert len(seen) == len(set(seen)) == 6
    assert await found_of(storage, ACTOR) == []


async def events_in_every_state(storage: Storage) -> dict[str, EventState]:
    not_forwarded = await logged(storage, forward=False)
    pending, delivered, dead = [await logged(storage) for _ in range(3)]
    await storage.ledger.settle_delivered([attempt(delivered.event_id)])
    await storage.ledger.claim([dead.event_id], token="worker", seconds=LONG)
    await storage.ledger.settle_dead([attempt(dead.event_id, 1, "http_400", 400)], token="worker")
    await storage.letters.collect([letter(dead), letter(dead), letter(delivered)])
    return {
        not_forwarded.event_id: EventState.NOT_FORWARDED,
        pending.event_id: EventState.PENDING,
        delivered.event_id: EventState.DELIVERED,
        dead.event_id: EventState.DEAD,
    }


async def test_a_look_says_what_an_erasure_then_finds_and_changes_nothing(storage: Storage) -> None:
    states = await events_in_every_state(storage)
    asked = [*states, str(uuid.uuid4())]

    looked = [await storage.erasure.look(asked) for _ in range(2)]

    assert looked == [Found(states, dead_letters=3)] * 2
    assert await storage.erasure.erase(asked) == looked[0]


async def test_erased_events_are_gone_with_all_their_dead_letters_and_others_are_not(storage: Storage) -> None:
    states = await events_in_every_state(storage)
    other = await logged(storage, "actor-2")
    await storage.ledger.claim([other.event_id], token="worker", seconds=LONG)
    await storage.letters.collect([letter(other)])

    await storage.erasure.erase(list(states))

    for event_id in states:
        assert await storage.logged(event_id) is None
        assert await storage.ledger_row(event_id) is None
        assert await all_of(storage, event_id) == []
    assert await storage.logged(other.event_id) is not None
    assert (await storage.ledger_row(other.event_id)) is not None
    assert [each.subject for each in await storage.letters.open(EVERYTHING)] == [other.event_id]


async def test_poison_that_names_the_event_is_deleted_with_it_and_other_poison_is_not(storage: Storage) -> None:
    event = await logged(storage)
    of_event, other = poison(event_id=event.event_id), poison(event_id="no event")
    await storage.letters.collect([of_event, other])

    found = await storage.erasure.erase([event.event_id])

    assert found.dead_letters == 1
    assert [each.subject for each in await storage.letters.open(EVERYTHING)] == [other.subject]


async def test_erasing_again_finds_nothing(storage: Storage) -> None:
    states = await events_in_every_state(storage)
    await storage.erasure.erase(list(states))

    assert await storage.erasure.erase(list(states)) == Found({}, 0)
    assert await storage.erasure.erase([]) == Found({}, 0)


async def test_an_event_in_flight_is_left_and_its_worker_makes_no_other_attempt(storage: Storage) -> None:
    event = await logged(storage)
    await storage.ledger.claim([event.event_id], token="worker", seconds=LONG)
    await storage.letters.collect([letter(event)])

    found = await storage.erasure.erase([event.event_id])

    assert found == Found({event.event_id: EventState.IN_FLIGHT}, dead_letters=0)
    assert await storage.logged(event.event_id) is not None
    assert len(await all_of(storage, event.event_id)) == 1
    assert await storage.ledger.note([attempt(event.event_id)], token="worker") == set()
    assert await storage.ledger.settle_dead([attempt(event.event_id)], token="worker") == set()
    assert await claim_of(storage, event.event_id) is ClaimOutcome.CLAIMED_ELSEWHERE


async def test_asking_again_does_not_prolong_the_claim(storage: Storage) -> None:
    event = await logged(storage)
    await storage.ledger.claim([event.event_id], token="worker", seconds=LONG)
    ends = []
    for _ in range(3):
        await storage.erasure.erase([event.event_id])
        ends.append((await row_of(storage, event.event_id)).claimed_until)

    assert ends == ends[:1] * 3


async def test_an_event_in_flight_is_erased_when_its_claim_has_ended_and_no_worker_gets_it_before(
    storage: Storage,
) -> None:
    event = await logged(storage)
    await storage.ledger.claim([event.event_id], token="worker", seconds=BRIEF)
    await storage.erasure.erase([event.event_id])
    await storage.time_passes(BRIEF)
    assert await claim_of(storage, event.event_id) is ClaimOutcome.CLAIMED_ELSEWHERE

    found = await storage.erasure.erase([event.event_id])

    assert found.states == {event.event_id: EventState.PENDING}
    assert await gone(storage, event)


async def test_a_delivery_that_ends_after_the_claim_was_taken_over_is_still_written(storage: Storage) -> None:
    event = await logged(storage)
    await storage.ledger.claim([event.event_id], token="worker", seconds=BRIEF)
    await storage.erasure.erase([event.event_id])
    # As a worker does while it has its claim: without reading the row.
    await storage.ledger.settle_delivered([attempt(event.event_id)], token="worker", seconds_left=LONG)
    await storage.time_passes(BRIEF)

    found = await storage.erasure.erase([event.event_id])

    assert found.states == {event.event_id: EventState.DELIVERED}
    assert await gone(storage, event)


async def test_a_settled_event_under_a_live_claim_is_in_flight(storage: Storage) -> None:
    event = await logged(storage)
    await storage.ledger.claim([event.event_id], token="first", seconds=SHORT)
    await storage.time_passes(SHORT)
    await storage.ledger.claim([event.event_id], token="second", seconds=LONG)
    await storage.ledger.settle_delivered([attempt(event.event_id)], token="first")  # late; the second may be sending

    found = await storage.erasure.look([event.event_id])

    assert found.states == {event.event_id: EventState.IN_FLIGHT}


async def test_an_event_whose_claim_has_expired_is_erased(storage: Storage) -> None:
    event = await logged(storage)
    await storage.ledger.claim([event.event_id], token="worker", seconds=SHORT)
    await storage.time_passes(SHORT)

    found = await storage.erasure.erase([event.event_id])

    assert found.states == {event.event_id: EventState.PENDING}


# --- what others make of it -------------------------------------------------------------------------------------------


async def test_a_claim_tells_erased_events_from_those_that_never_had_a_row(storage: Storage) -> None:
    event, never, pending = await logged(storage), str(uuid.uuid4()), await logged(storage)
    await storage.erasure.erase([event.event_id])

    found = await storage.ledger.claim([event.event_id, never, pending.event_id], token=token(), seconds=LONG)

    assert found == {
        event.event_id: ClaimResult(event.event_id, ClaimOutcome.ERASED),
        never: ClaimResult(never, ClaimOutcome.MISSING),
        pending.event_id: ClaimResult(pending.event_id, ClaimOutcome.CLAIMED),
    }


async def test_late_writes_of_a_worker_bring_nothing_back(storage: Storage) -> None:
    event, other = await logged(storage), await logged(storage)
    both = [attempt(event.event_id), attempt(other.event_id)]
    await storage.ledger.claim([each.event_id for each in both], token="worker", seconds=SHORT)
    await storage.time_passes(SHORT)
    await storage.erasure.erase([event.event_id])

    await storage.ledger.note(both, token="worker")
    await storage.ledger.release(both, token="worker")
    await storage.ledger.settle_delivered(both, token="worker", seconds_left=LONG)

    assert await gone(storage, event)
    kept = await storage.ledger_row(other.event_id)
    assert kept is not None
    assert kept.state == "DELIVERED"


@pytest.mark.parametrize("kind", ["letter", "poison"])
async def test_no_dead_letter_of_an_erased_event_is_collected_and_others_are(storage: Storage, kind: str) -> None:
    event, never = await logged(storage), sample_event()
    await storage.erasure.erase([event.event_id])
    of_event = letter(event) if kind == "letter" else poison(event_id=event.event_id)

    assert await storage.letters.collect([of_event, letter(never), poison()]) == 2

    assert len(await storage.letters.open(EVERYTHING)) == 2
    assert await all_of(storage, of_event.subject) == []


async def test_an_erased_event_is_neither_replayed_nor_published_again(storage: Storage) -> None:
    event = await logged(storage)
    await storage.letters.collect([letter(event)])
    await storage.erasure.erase([event.event_id])

    reopened = await storage.replays.reopen([event.event_id], max_replays=3)

    assert reopened[event.event_id].found is ReopenOutcome.MISSING
    assert await storage.replays.events([event.event_id]) == {}
    assert await storage.republishing.mark_republished([event.event_id], intervals=[1.0], force=True) == []


async def test_an_event_that_is_logged_again_is_like_any_other(storage: Storage) -> None:
    event = await logged(storage)
    await storage.erasure.erase([event.event_id])
    await storage.repository.append([sample_row(event)])

    assert await storage.letters.collect([letter(event)]) == 1
    assert [each.event_id for each in await found_of(storage, ACTOR)] == [event.event_id]
    assert await claim_of(storage, event.event_id) is ClaimOutcome.CLAIMED


async def test_an_event_is_erased_as_often_as_it_is_logged(storage: Storage) -> None:
    event = await logged(storage)
    for _ in range(2):
        await storage.erasure.erase([event.event_id])
        assert await claim_of(storage, event.event_id) is ClaimOutcome.ERASED
        await storage.repository.append([sample_row(event)])

    assert (await storage.erasure.look([event.event_id])).states == {event.event_id: EventState.PENDING}

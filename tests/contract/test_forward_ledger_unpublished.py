"""What every RepublishLedger lists: what stayed pending, oldest first, page by page."""

from datetime import timedelta
from itertools import pairwise

from shared.events.forward_ledger import DEFAULT_SHARDS, forward_shard
from shared.events.republish_ledger import Cursor, Reached
from tests.support.emulators.claiming import attempt, row_of, token
from tests.support.emulators.republishing import AGE, AT, SHARD, logged, logged_together, mark, unpublished
from tests.support.emulators.storages import Storage
from tests.support.sample_events import in_shard, sample_row


async def test_what_is_pending_comes_oldest_first_and_no_more_than_asked_for(storage: Storage) -> None:
    event_ids = []
    for _ in range(4):
        event_ids.append(await logged(storage))
        await storage.time_passes(0.001)

    assert await unpublished(storage) == event_ids
    assert await unpublished(storage, limit=2) == event_ids[:2]


async def test_only_what_is_older_than_asked_for_is_listed(storage: Storage) -> None:
    old = await logged(storage)
    assert await unpublished(storage, age=AGE) == []

    await storage.time_passes(AGE + 0.01)
    await logged(storage)

    assert await unpublished(storage, age=AGE) == [old]
    assert await unpublished(storage, age=60) == []


async def test_pages_go_on_from_their_cursor_also_within_one_moment(storage: Storage) -> None:
    event_ids = await logged_together(storage, 5)
    await storage.time_passes(0.001)
    event_ids += await logged_together(storage, 4)
    await storage.time_passes(0.001)

    pages, cursor = [], None
    while (
        page := await storage.republishing.unpublished(shard=SHARD, after=cursor, older_than_seconds=0, limit=2)
    ).event_ids:
        pages.append(page.event_ids)
        cursor = page.cursor

    assert [len(page) for page in pages] == [2, 2, 2, 2, 1]
    assert [event_id for page in pages for event_id in page] == event_ids
    assert cursor is not None
    assert page.cursor >= cursor, "never back"
    assert await unpublished(storage, after=cursor, age=60) == [], "nothing up to a minute ago lies behind it"
    later = await logged(storage)
    await storage.time_passes(0.001)
    assert await unpublished(storage, after=cursor) == [later]


async def test_where_nothing_is_found_the_cursor_moves_on_and_passes_no_row(storage: Storage) -> None:
    """Else each round would pass, from the beginning of time, all that was delivered within the last hour."""
    nothing = await storage.republishing.unpublished(shard=SHARD, after=None, older_than_seconds=0.5, limit=2)
    event_id = await logged(storage)
    await storage.time_passes(0.6)

    young = await storage.republishing.unpublished(shard=SHARD, after=nothing.cursor, older_than_seconds=60, limit=2)
    old = await storage.republishing.unpublished(shard=SHARD, after=nothing.cursor, older_than_seconds=0.5, limit=2)

    assert nothing.event_ids == []
    assert young.event_ids == []
    assert young.cursor == nothing.cursor, "not back, where less is looked at than before"
    assert old.event_ids == [event_id]
    assert old.cursor > nothing.cursor


async def test_a_page_may_begin_behind_any_number_of_one_moment(storage: Storage) -> None:
    event_ids = await logged_together(storage, 130)
    await storage.time_passes(0.001)

    for place in (0, 40, 60, 120, 129):
        row = await row_of(storage, event_ids[place])
        assert row.pending_since is not None
        after = Cursor(row.pending_since, row.event_id)
        assert await unpublished(storage, after=after, limit=2) == event_ids[place + 1 : place + 3]


async def test_each_shard_lists_its_own_and_all_shards_together_everything(storage: Storage) -> None:
    rows = [sample_row() for _ in range(40)]
    await storage.repository.append(rows)
    await storage.time_passes(0.001)

    by_shard = [await unpublished(storage, shard=shard) for shard in range(DEFAULT_SHARDS)]

    assert sorted(event_id for event_ids in by_shard for event_id in event_ids) == sorted(
        row.event.event_id for row in rows
    )
    for shard, event_ids in enumerate(by_shard):
        assert {forward_shard(event_id) for event_id in event_ids} <= {shard}


async def test_what_is_settled_or_not_to_be_forwarded_is_neither_listed_nor_marked(storage: Storage) -> None:
    delivered, dead = await logged(storage), await logged(storage)
    await storage.repository.append([sample_row(event_id=in_shard(SHARD), forward=False)])
    await storage.ledger.settle_delivered([attempt(delivered)])
    ours = token()
    await storage.ledger.claim([dead], token=ours, seconds=60)
    await storage.ledger.settle_dead([attempt(dead)], token=ours)
    await storage.time_passes(0.001)
    before = [await row_of(storage, event_id) for event_id in (delivered, dead)]

    assert await unpublished(storage) == []
    assert await mark(storage, delivered, dead, force=True) == []
    assert [await row_of(storage, event_id) for event_id in (delivered, dead)] == before


async def test_the_oldest_pending_event_of_all_shards_tells_the_age(storage: Storage) -> None:
    assert await storage.ledger.oldest_pending_seconds() is None

    oldest = await logged(storage, shard=15)
    await storage.time_passes(10 * AGE)  # longer than the reads of all shards take
    await logged(storage, shard=0)
    both = await storage.ledger.oldest_pending_seconds()
    await storage.ledger.settle_delivered([attempt(oldest)])
    younger = await storage.ledger.oldest_pending_seconds()

    assert both is not None
    assert younger is not None
    assert both >= 10 * AGE > 0
    assert 0 <= younger < both


def test_cursors_are_in_the_order_of_the_index() -> None:
    places = [Cursor(AT, "a"), Cursor(AT, "b"), Cursor(AT.replace(year=2027), "a")]

    assert all(earlier < later for earlier, later in pairwise(places))


async def test_rows_whose_messages_are_still_to_come_are_not_listed_and_not_passed(storage: Storage) -> None:
    passed = await logged(storage)
    await storage.time_passes(0.01)
    reached = Reached(await storage.now(), longest=timedelta(seconds=60))
    to_come = await logged(storage)
    await storage.time_passes(0.01)

    page = await storage.republishing.unpublished(
        shard=SHARD, after=None, older_than_seconds=0, limit=10, reached=reached
    )

    assert page.event_ids == [passed]
    assert await unpublished(storage, after=page.cursor) == [to_come]
    page = await storage.republishing.unpublished(
        shard=SHARD, after=page.cursor, older_than_seconds=60, limit=10, reached=reached
    )
    assert page.event_ids == [], "both bounds hold"


async def test_a_row_is_left_alone_for_a_message_to_come_for_so_long_at_most(storage: Storage) -> None:
    before = await storage.now()
    event_id = await logged(storage)
    await storage.time_passes(AGE + 0.01)

    page = await storage.republishing.unpublished(
        shard=SHARD, after=None, older_than_seconds=0, limit=10, reached=Reached(before, longest=timedelta(seconds=AGE))
    )

    assert page.event_ids == [event_id]

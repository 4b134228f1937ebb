"""What every EventLogRepository does: the fake of the unit tests, and Spanner."""

import json
import uuid
from typing import Any

import anyio
import pytest

from shared.errors import EventLoggingError, RowExistsError, StoragePreconditionError
from shared.events.event import RESERVED_METADATA_KEY, EventLogRow
from shared.events.event_log import Written
from shared.events.forward_ledger import ForwardState, forward_shard
from shared.events.timestamps import EARLIEST_NANOS, LATEST_NANOS
from tests.support.emulators.storages import Storage
from tests.support.sample_events import TYPICAL_NANOS, sample_event, sample_row


def written(*rows: EventLogRow) -> dict[str, Written]:
    return {row.event.event_id: Written(row.request_digest, row.write_id) for row in rows}


def event_ids(*rows: EventLogRow) -> list[str]:
    return [row.event.event_id for row in rows]


async def test_an_appended_row_is_kept_as_it_was_given(storage: Storage) -> None:
    row = sample_row(metadata={"nested": {"list": [1, "two", None, True]}, "empty": ""})

    await storage.repository.append([row])

    logged = await storage.logged(row.event.event_id)
    assert logged is not None
    assert logged.event_name == row.event.event_name
    assert logged.event_type == row.event.event_type
    assert logged.actor_id == row.event.actor_id
    assert logged.event_ts_nanos == row.event.event_ts_nanos
    assert logged.metadata == json.loads(row.metadata_json)
    assert logged.forward_to_statsig is True


async def test_a_row_to_be_forwarded_is_born_pending_in_the_ledger(storage: Storage) -> None:
    row = sample_row()
    before = await storage.now()

    await storage.repository.append([row])

    born = await storage.ledger_row(row.event.event_id)
    assert born is not None
    assert born.state == ForwardState.PENDING
    assert born.pending_since is not None
    assert before <= born.pending_since <= await storage.now()
    assert (born.attempts, born.replays, born.possible_duplicates) == (0, 0, 0)
    assert (born.settled_at, born.republished_at, born.claim_token, born.claimed_until) == (None, None, None, None)
    assert born.forward_shard == forward_shard(row.event.event_id)


async def test_a_row_that_is_not_to_be_forwarded_has_no_ledger_row(storage: Storage) -> None:
    kept, forwarded = sample_row(forward=False), sample_row(forward=True)

    await storage.repository.append([kept, forwarded])

    logged = await storage.logged(kept.event.event_id)
    assert logged is not None
    assert logged.forward_to_statsig is False
    assert await storage.ledger_row(kept.event.event_id) is None
    assert await storage.ledger_row(forwarded.event.event_id) is not None


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"event_type": None, "actor_id": None, "metadata": {}}, id="NULLs and no metadata"),
        pytest.param({"name": "名" * 256, "event_type": "т" * 128, "actor_id": "𝄞" * 256}, id="as long as may be"),
        pytest.param({"metadata": {"ключ": "значение", "🦜": ["é", "e\u0301", "\u2028", "\u200d"]}}, id="unicode"),
        pytest.param({"event_ts_nanos": EARLIEST_NANOS}, id="earliest time"),
        pytest.param({"event_ts_nanos": EARLIEST_NANOS + 1}, id="a nanosecond later"),
        pytest.param({"event_ts_nanos": -1}, id="a nanosecond before 1970"),
        pytest.param({"event_ts_nanos": 0}, id="1970"),
        pytest.param({"event_ts_nanos": LATEST_NANOS}, id="latest time"),
        pytest.param({"metadata": {"text": "x" * 65_000}}, id="large metadata"),
    ],
)
async def test_what_is_unusual_but_allowed_comes_back_unchanged(storage: Storage, fields: dict[str, Any]) -> None:
    row = sample_row(**fields)

    await storage.repository.append([row])

    logged = await storage.logged(row.event.event_id)
    assert logged is not None
    assert (logged.event_name, logged.event_type, logged.actor_id) == (
        row.event.event_name,
        row.event.event_type,
        row.event.actor_id,
    )
    assert logged.event_ts_nanos == row.event.event_ts_nanos
    own = {key: value for key, value in logged.metadata.items() if key != RESERVED_METADATA_KEY}
    assert own == row.event.metadata


async def test_256_rows_are_one_append(storage: Storage) -> None:
    rows = [sample_row(forward=number % 2 == 0) for number in range(256)]

    await storage.repository.append(rows)

    assert await storage.repository.written(event_ids(*rows)) == written(*rows)
    in_ledger = [await storage.ledger_row(event_id) is not None for event_id in event_ids(*rows[:4])]
    assert in_ledger == [True, False, True, False]


async def test_an_existing_event_id_refuses_the_whole_append(storage: Storage) -> None:
    first = sample_row(name="first")
    await storage.repository.append([first])
    again, neighbour = sample_row(sample_event("other", event_id=first.event.event_id)), sample_row()

    with pytest.raises(RowExistsError):
        await storage.repository.append([neighbour, again])

    assert await storage.logged(neighbour.event.event_id) is None
    assert await storage.ledger_row(neighbour.event.event_id) is None
    kept = await storage.logged(first.event.event_id)
    assert kept is not None
    assert kept.event_name == "first"


async def test_the_same_append_again_is_answered_with_the_row_exists(storage: Storage) -> None:
    row = sample_row()
    await storage.repository.append([row])

    with pytest.raises(RowExistsError):
        await storage.repository.append([row])

    assert await storage.repository.written(event_ids(row)) == written(row)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"name": "n" * 257}, id="name too long"),
        pytest.param({"event_type": "t" * 129}, id="type too long"),
        pytest.param({"actor_id": "a" * 257}, id="actor too long"),
        pytest.param({"event_id": f"{uuid.uuid4()}0"[1:] + "0"}, id="event_id too long"),
        pytest.param({"metadata_json": "{"}, id="metadata is not JSON"),
        pytest.param({"metadata_json": '{"n": NaN}'}, id="metadata holds a NaN"),
    ],
)
async def test_a_row_at_fault_refuses_the_whole_append(storage: Storage, bad: dict[str, Any]) -> None:
    good = sample_row()

    with pytest.raises(StoragePreconditionError):  # a word that Spanner has for its own state too
        await storage.repository.append([good, sample_row(forward=False, **bad)])

    assert await storage.logged(good.event.event_id) is None
    assert await storage.ledger_row(good.event.event_id) is None


async def test_of_concurrent_appends_of_one_event_id_exactly_one_is_written(storage: Storage) -> None:
    event_id = str(uuid.uuid4())
    outcomes: list[str] = []

    async def append(name: str) -> None:
        try:
            await storage.repository.append([sample_row(sample_event(name, event_id=event_id)), sample_row()])
        except EventLoggingError as error:
            outcomes.append(error.reason)
        else:
            outcomes.append(name)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(append, f"writer_{number}")

    written = [outcome for outcome in outcomes if outcome.startswith("writer_")]
    assert len(written) == 1
    assert outcomes.count(RowExistsError.reason) == 5
    logged = await storage.logged(event_id)
    assert logged is not None
    assert logged.event_name == written[0]


async def test_it_is_told_of_existing_events_only_who_wrote_what(storage: Storage) -> None:
    forwarded, kept = sample_row(), sample_row(forward=False)
    await storage.repository.append([forwarded, kept])

    found = await storage.repository.written([*event_ids(forwarded, kept), str(uuid.uuid4())])

    assert found == written(forwarded, kept)
    assert await storage.repository.written([]) == {}


async def test_the_first_write_is_told_after_a_second_one_was_refused(storage: Storage) -> None:
    first = sample_row()
    await storage.repository.append([first])
    with pytest.raises(RowExistsError):
        await storage.repository.append([sample_row(first.event)])

    assert await storage.repository.written(event_ids(first)) == written(first)


async def test_a_time_without_sub_second_part_is_kept_too(storage: Storage) -> None:
    row = sample_row(event_ts_nanos=TYPICAL_NANOS // 10**9 * 10**9)

    await storage.repository.append([row])

    logged = await storage.logged(row.event.event_id)
    assert logged is not None
    assert logged.event_ts_nanos == row.event.event_ts_nanos

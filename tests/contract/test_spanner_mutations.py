"""Our raw mutations write what the client's own would have written (google-cloud-spanner 3.71)."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.api_core.exceptions import AlreadyExists, NotFound
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, KeySet

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames, provisioner
from shared.process.settings import Settings, from_environment
from shared.spanner import mutations as spanner_mutations
from shared.spanner.connection import open_database

pytestmark = pytest.mark.emulators

TABLE: Final = "Everything"
DDL: Final = f"""
CREATE TABLE {TABLE} (
  id STRING(36) NOT NULL, flag BOOL, count INT64, words STRING(MAX), moment TIMESTAMP,
  committed TIMESTAMP OPTIONS (allow_commit_timestamp = true), document JSON, lines ARRAY<STRING(MAX)>,
) PRIMARY KEY (id)"""
COLUMNS: Final = ("id", "flag", "count", "words", "moment", "committed", "document", "lines")

AT: Final = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)
EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)

Write = Callable[[str, Sequence[str], Sequence[Sequence[Any]]], Awaitable[None]]


@pytest.fixture
async def database(emulators: Emulators) -> AsyncIterator[Any]:
    names = StackNames.unique("mutations")
    async with provisioner(emulators) as admin:
        await admin.create_database(names, [DDL])
        async with open_database(from_environment(Settings, names.variables | emulators.variables)) as database:
            yield database
        await admin.delete_instance(names)


async def in_a_batch(database: Any, write: Callable[[Any], None]) -> None:
    async with database.batch() as batch:
        write(batch)


async def in_a_transaction(database: Any, write: Callable[[Any], None]) -> None:
    async def work(transaction: Any) -> None:
        write(transaction)

    await database.run_in_transaction(work)


COMMITS: Final = pytest.mark.parametrize("commit", [in_a_batch, in_a_transaction])


async def rows_of(database: Any) -> list[list[Any]]:
    """As the client reads them."""
    async with database.snapshot() as snapshot:
        return [row async for row in await snapshot.read(TABLE, COLUMNS, KeySet(all_=True))]


@COMMITS
@pytest.mark.parametrize(
    ("column", "written", "read"),
    [
        ("flag", True, True),
        ("flag", False, False),
        ("flag", None, None),
        ("count", 0, 0),
        ("count", 2**63 - 1, 2**63 - 1),
        ("count", -(2**63), -(2**63)),
        ("count", None, None),
        ("words", "", ""),
        ("words", "Größe 🚀 \x00", "Größe 🚀 \x00"),
        ("words", None, None),
        ("moment", AT, AT),
        ("moment", AT.astimezone(timezone(timedelta(hours=5, minutes=30))), AT),
        ("moment", EARLIEST, EARLIEST),
        ("moment", "2026-03-04T05:06:07.891011Z", AT),
        ("moment", None, None),
        ("document", '{"a":[1,null,"ü"]}', JsonObject({"a": [1, None, "ü"]})),
        ("lines", [], []),
        ("lines", ["one", "", "two"], ["one", "", "two"]),
        ("lines", ("a tuple",), ["a tuple"]),
        ("lines", [None, "after a null"], [None, "after a null"]),
        ("lines", None, None),
    ],
)
async def test_every_value_survives(
    database: Any, commit: Callable[..., Awaitable[None]], column: str, written: object, read: object
) -> None:
    key = str(uuid.uuid4())

    await commit(database, lambda buffer: spanner_mutations.insert(buffer, TABLE, ("id", column), [(key, written)]))

    ((found, *values),) = await rows_of(database)
    assert found == key
    assert dict(zip(COLUMNS[1:], values, strict=True)) == dict.fromkeys(COLUMNS[1:]) | {column: read}


async def test_nanoseconds_survive(database: Any) -> None:
    exact = DatetimeWithNanoseconds(2026, 3, 4, 5, 6, 7, nanosecond=891_011_123, tzinfo=UTC)

    await in_a_batch(database, lambda batch: spanner_mutations.insert(batch, TABLE, ("id", "moment"), [("one", exact)]))

    ((*_, found, _, _, _),) = await rows_of(database)
    assert found.nanosecond == 891_011_123


@COMMITS
async def test_an_update_changes_the_named_columns_of_rows_that_exist(
    database: Any, commit: Callable[..., Awaitable[None]]
) -> None:
    born = [(str(number), number, "born") for number in range(3)]
    await commit(database, lambda buffer: spanner_mutations.insert(buffer, TABLE, ("id", "count", "words"), born))

    changes = [("0", COMMIT_TIMESTAMP, 10), ("2", COMMIT_TIMESTAMP, None)]
    await commit(
        database, lambda buffer: spanner_mutations.update(buffer, TABLE, ("id", "committed", "count"), changes)
    )

    rows = await rows_of(database)
    assert [(key, count, words) for key, _, count, words, *_ in rows] == [
        ("0", 10, "born"),
        ("1", 1, "born"),
        ("2", None, "born"),
    ]
    assert [committed is not None for *_, committed, _, _ in rows] == [True, False, True]


@COMMITS
async def test_an_insert_fails_where_one_exists_and_an_update_where_one_does_not(
    database: Any, commit: Callable[..., Awaitable[None]]
) -> None:
    await commit(database, lambda buffer: spanner_mutations.insert(buffer, TABLE, ("id",), [("there",)]))

    with pytest.raises(AlreadyExists):
        await commit(database, lambda buffer: spanner_mutations.insert(buffer, TABLE, ("id",), [("new",), ("there",)]))
    with pytest.raises(NotFound):
        await commit(
            database,
            lambda buffer: spanner_mutations.update(buffer, TABLE, ("id", "count"), [("there", 1), ("absent", 1)]),
        )

    assert [row[:3] for row in await rows_of(database)] == [["there", None, None]]


@COMMITS
async def test_they_are_committed_together_with_the_clients_own(
    database: Any, commit: Callable[..., Awaitable[None]]
) -> None:
    def write(buffer: Any) -> None:
        buffer.insert(TABLE, ("id", "count"), [("the client's", 1)])
        spanner_mutations.insert(buffer, TABLE, ("id", "count"), [("ours", 2)])
        spanner_mutations.update(buffer, TABLE, ("id", "count"), [("the client's", 3)])

    await commit(database, write)

    assert [row[:3] for row in await rows_of(database)] == [["ours", None, 2], ["the client's", None, 3]]


async def test_what_no_column_holds_is_refused_before_it_is_sent(database: Any) -> None:
    with pytest.raises(TypeError):
        await in_a_batch(
            database, lambda batch: spanner_mutations.insert(batch, TABLE, ("id", "count"), [("one", 1.5)])
        )

    assert await rows_of(database) == []

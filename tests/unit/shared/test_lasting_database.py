"""When the client's database is replaced by a new one, and how the old one ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from google.api_core import exceptions as google
from google.rpc.error_details_pb2 import ResourceInfo

from shared.spanner.connection import _is_lost_session
from shared.spanner.lasting_database import LOST_IN_A_ROW, LastingDatabase

SESSION = "type.googleapis.com/google.spanner.v1.Session"
DATABASE = "type.googleapis.com/google.spanner.admin.database.v1.Database"


def not_found(resource_type: str | None) -> google.NotFound:
    details = [] if resource_type is None else [ResourceInfo(resource_type=resource_type)]
    return google.NotFound("not found", details=details)


@dataclass(eq=False)
class FakeDatabase:
    """Of the client: what its calls raise is an attribute."""

    failure: Exception | None = None
    close_failure: Exception | None = None
    close_gate: anyio.Event | None = None
    is_closed: bool = False
    name: str = "the name"

    @asynccontextmanager
    async def batch(self, **options: Any) -> AsyncIterator[Any]:
        yield options
        if self.failure:
            raise self.failure

    @asynccontextmanager
    async def snapshot(self, **options: Any) -> AsyncIterator[Any]:
        if self.failure:
            raise self.failure
        yield options

    async def run_in_transaction(self, work: Any, **options: Any) -> Any:
        if self.failure:
            raise self.failure
        return work, options

    async def close(self) -> None:
        if self.close_gate:
            await self.close_gate.wait()
        self.is_closed = True
        if self.close_failure:
            raise self.close_failure


@dataclass
class Connections:
    """Every database there was, the present one last."""

    made: list[FakeDatabase] = field(default_factory=lambda: [FakeDatabase()])

    async def connect(self) -> FakeDatabase:
        await anyio.lowlevel.checkpoint()
        self.made.append(FakeDatabase())
        return self.made[-1]

    def open(self) -> LastingDatabase:
        return LastingDatabase(self.made[0], connect=self.connect, is_lost_session=_is_lost_session)


async def commit(database: LastingDatabase) -> None:
    async with database.batch():
        pass


async def read(database: LastingDatabase) -> None:
    async with database.snapshot():
        pass


async def transact(database: LastingDatabase) -> None:
    await database.run_in_transaction(None)


CALLS = [commit, read, transact]


@pytest.mark.parametrize("call", CALLS)
async def test_a_session_that_is_gone_several_times_in_a_row_is_replaced(call: Any) -> None:
    connections = Connections([FakeDatabase(failure=not_found(SESSION))])
    database = connections.open()

    for _ in range(LOST_IN_A_ROW):
        assert len(connections.made) == 1
        with pytest.raises(google.NotFound):
            await call(database)
    await call(database)
    await anyio.wait_all_tasks_blocked()

    assert [one.is_closed for one in connections.made] == [True, False]
    await database.close()
    assert connections.made[1].is_closed


async def test_calls_of_every_kind_count_together() -> None:
    connections = Connections([FakeDatabase(failure=not_found(SESSION))])
    database = connections.open()

    for call in CALLS:
        with pytest.raises(google.NotFound):
            await call(database)

    assert len(connections.made) == 2


@pytest.mark.parametrize(
    "failure",
    [
        not_found(None),  # a row, a table, a column; a transaction of the emulator
        not_found(DATABASE),
        google.ServiceUnavailable("down"),
        google.FailedPrecondition("full", details=[ResourceInfo(resource_type=SESSION)]),
        RuntimeError("a bug"),
    ],
)
async def test_nothing_else_replaces_it(failure: Exception) -> None:
    connections = Connections([FakeDatabase(failure=failure)])
    database = connections.open()

    for _ in range(3 * LOST_IN_A_ROW):
        with pytest.raises(type(failure)):
            await commit(database)

    assert len(connections.made) == 1


async def test_a_session_that_was_hidden_by_the_client_is_seen() -> None:
    hidden = google.PermissionDenied("may not ask for a session")
    hidden.__context__ = not_found(SESSION)
    connections = Connections([FakeDatabase(failure=hidden)])
    database = connections.open()

    for _ in range(LOST_IN_A_ROW):
        with pytest.raises(google.PermissionDenied):
            await read(database)

    assert len(connections.made) == 2


async def test_a_call_that_succeeds_begins_the_count_again() -> None:
    connections = Connections()
    database = connections.open()

    for _ in range(2):
        connections.made[0].failure = not_found(SESSION)
        for _ in range(LOST_IN_A_ROW - 1):
            with pytest.raises(google.NotFound):
                await commit(database)
        connections.made[0].failure = None
        await commit(database)

    assert len(connections.made) == 1


async def test_many_calls_at_once_replace_it_once() -> None:
    connections = Connections([FakeDatabase(failure=not_found(SESSION))])
    database = connections.open()

    async def fail() -> None:
        with pytest.raises(google.NotFound):
            await commit(database)

    async with anyio.create_task_group() as calls:
        for _ in range(4 * LOST_IN_A_ROW):
            calls.start_soon(fail)

    assert [one for one in connections.made if not one.is_closed] == [database._database]
    await commit(database)


async def test_an_old_one_that_does_not_close_holds_up_neither_calls_nor_for_long_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.spanner.lasting_database.CLOSE_SECONDS", 0.05)
    connections = Connections([FakeDatabase(failure=not_found(SESSION), close_gate=anyio.Event())])
    database = connections.open()
    for _ in range(LOST_IN_A_ROW):
        with pytest.raises(google.NotFound):
            await commit(database)

    await commit(database)
    with anyio.fail_after(5):
        await database.close()

    assert [one.is_closed for one in connections.made] == [False, True]


async def test_what_a_close_raises_is_nobodys_concern() -> None:
    connections = Connections([FakeDatabase(close_failure=google.ServiceUnavailable("of a task that ended long ago"))])

    await connections.open().close()

    assert connections.made[0].is_closed


async def test_what_is_given_and_what_is_answered_passes_through() -> None:
    database = Connections().open()

    async with database.batch(timeout_secs=1) as batch, database.snapshot(multi_use=True) as snapshot:
        assert (batch, snapshot) == ({"timeout_secs": 1}, {"multi_use": True})
    assert await database.run_in_transaction("work", timeout_secs=1) == ("work", {"timeout_secs": 1})
    assert database.name == "the name"

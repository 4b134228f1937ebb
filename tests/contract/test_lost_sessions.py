"""What our adapters do when Spanner's session of the client is gone, as it can be after 28 days."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import anyio
import pytest
from google.cloud.spanner_v1 import SpannerAsyncClient
from google.cloud.spanner_v1._async.database_sessions_manager import DatabaseSessionsManager
from google.cloud.spanner_v1.services.spanner.transports import SpannerGrpcAsyncIOTransport

from deploy.local.emulators import Emulators, local_channel
from deploy.local.provision import StackNames, provisioner
from shared.errors import StorageUnavailableError
from shared.process.settings import Settings, from_environment
from shared.spanner.connection import open_database
from shared.spanner.event_log import SpannerEventLogRepository
from shared.spanner.lasting_database import LOST_IN_A_ROW
from tests.support.emulators.storages import TIMEOUT_SECONDS
from tests.support.sample_events import sample_row

pytestmark = pytest.mark.emulators

CALLS: Final = 50
"""More than any count that would still be called a few."""


@dataclass
class Opened:
    database: Any
    repository: SpannerEventLogRepository

    @property
    def sessions(self) -> Any:
        """The client's own manager, of the present database."""
        return self.database.sessions_manager

    async def append(self) -> bool:
        """Whether it succeeds; it can fail in one way only."""
        row = sample_row()
        try:
            await self.repository.append([row])
        except StorageUnavailableError:
            return False
        return row.event.event_id in await self.repository.written([row.event.event_id])

    async def read(self) -> bool:
        try:
            await self.repository.written(["any"])
        except StorageUnavailableError:
            return False
        return True

    async def transact(self) -> bool:
        async def work(transaction: Any) -> None:
            async for _ in await transaction.execute_sql("SELECT 1"):
                pass

        try:
            await self.database.run_in_transaction(work)
        except Exception:  # noqa: BLE001 - the ledger's own translation is not under test
            return False
        return True


@pytest.fixture
async def opened(environment: dict[str, str]) -> AsyncIterator[Opened]:
    async with open_database(from_environment(Settings, environment)) as database:
        yield Opened(database, SpannerEventLogRepository(database, timeout_seconds=TIMEOUT_SECONDS))


async def delete_session(opened: Opened, emulators: Emulators) -> None:
    async with local_channel(emulators.spanner_host) as channel:
        api = SpannerAsyncClient(transport=SpannerGrpcAsyncIOTransport(channel=channel))
        await api.delete_session(name=opened.sessions._multiplexed_session.name)


@pytest.mark.parametrize("kind", ["append", "read", "transact"])
async def test_after_a_session_was_deleted_calls_fail_a_few_times_and_then_succeed(
    opened: Opened, emulators: Emulators, kind: str
) -> None:
    call = getattr(opened, kind)
    assert await call()
    await delete_session(opened, emulators)

    outcomes = [await call() for _ in range(CALLS)]

    assert outcomes == [False] * LOST_IN_A_ROW + [True] * (CALLS - LOST_IN_A_ROW)


async def test_it_heals_as_often_as_it_is_lost(opened: Opened, emulators: Emulators) -> None:
    for _ in range(3):
        while not await opened.append():
            pass
        await delete_session(opened, emulators)

    assert [await opened.append() for _ in range(LOST_IN_A_ROW + 1)][-1]


async def test_a_client_whose_renewal_failed_once_heals_when_its_session_ends(
    environment: dict[str, str], emulators: Emulators, names: StackNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DatabaseSessionsManager, "_MAINTENANCE_THREAD_POLLING_INTERVAL", timedelta(seconds=0.01))
    monkeypatch.setattr(DatabaseSessionsManager, "_MAINTENANCE_THREAD_REFRESH_INTERVAL", timedelta(0))
    async with (
        provisioner(emulators) as admin,
        open_database(from_environment(Settings, environment)) as database,
    ):
        opened = Opened(database, SpannerEventLogRepository(database, timeout_seconds=TIMEOUT_SECONDS))
        assert await opened.append()
        renewal = opened.sessions._multiplexed_session_thread
        await admin.drop_database(names)  # so that its CreateSession fails
        with anyio.fail_after(10):
            while not renewal.done():
                await anyio.sleep(0.01)
        assert renewal.exception() is not None, "the client now survives this: look whether LastingDatabase is needed"
        await admin.create_database(names)

        outcomes = [await opened.append() for _ in range(CALLS)]

    assert outcomes == [False] * LOST_IN_A_ROW + [True] * (CALLS - LOST_IN_A_ROW)


async def test_transactions_that_end_each_other_on_the_emulator_do_not_replace_it(opened: Opened) -> None:
    assert await opened.transact()
    before = opened.sessions
    slow = anyio.Event()
    failures = 0

    async def work(transaction: Any) -> None:
        async for _ in await transaction.execute_sql("SELECT 1"):
            pass
        await slow.wait()
        async for _ in await transaction.execute_sql("SELECT 1"):
            pass

    async def transact() -> None:
        nonlocal failures
        try:
            await opened.database.run_in_transaction(work)
        except Exception:  # noqa: BLE001 - whatever the emulator has for it
            failures += 1

    async with anyio.create_task_group() as transactions:
        for _ in range(2 * LOST_IN_A_ROW):
            transactions.start_soon(transact)
        await anyio.sleep(0.2)
        slow.set()

    assert failures >= LOST_IN_A_ROW
    assert opened.sessions is before


async def test_a_database_that_is_not_there_is_unavailable_and_works_once_it_is(
    opened: Opened, emulators: Emulators, names: StackNames
) -> None:
    assert await opened.append()
    async with provisioner(emulators) as admin:
        await admin.drop_database(names)
        assert not any([await opened.append() for _ in range(2 * LOST_IN_A_ROW)])
        await admin.create_database(names)

    assert [await opened.append() for _ in range(2 * LOST_IN_A_ROW)][-1]

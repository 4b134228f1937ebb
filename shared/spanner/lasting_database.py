"""A Spanner database that outlives its session.

The client works on one multiplexed session, which a task of its own replaces every 7 days. That task ends for good when
a single CreateSession fails. Spanner deletes the session after 28 days, and from then on every call fails with
NOT_FOUND in a process that looks healthy (google-cloud-spanner 3.71, `_async/database_sessions_manager.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from shared.process.logs import get_logger

LOST_IN_A_ROW: Final = 3
"""Calls in a row that find the session gone before it is replaced. A single one could be Spanner's mistake; more would
fail more callers, who are answered `unavailable`."""

CLOSE_SECONDS: Final = 1.0
"""How long closing may wait for the client's task, which may be in a call. Nothing is lost if it is exceeded."""

_log = get_logger()


class LastingDatabase:
    """Passes calls to the client's database, and replaces that by a new one when its session is gone.

    Calls in flight finish on the old database. Other attributes are those of the current database, without this watch.
    """

    def __init__(
        self, database: Any, *, connect: Callable[[], Awaitable[Any]], is_lost_session: Callable[[BaseException], bool]
    ) -> None:
        self._database = database
        self._connect = connect
        self._is_lost_session = is_lost_session
        self._lost_in_a_row = 0
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def batch(self, **options: Any) -> AsyncIterator[Any]:
        async with self._watched() as database, database.batch(**options) as batch:
            yield batch

    @asynccontextmanager
    async def snapshot(self, **options: Any) -> AsyncIterator[Any]:
        async with self._watched() as database, database.snapshot(**options) as snapshot:
            yield snapshot

    async def run_in_transaction(self, work: Any, *arguments: Any, **options: Any) -> Any:
        async with self._watched() as database:
            return await database.run_in_transaction(work, *arguments, **options)

    async def close(self) -> None:
        """Close the current database, unbounded, after the old ones."""
        await asyncio.gather(*self._closing)
        await _close(self._database)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[Any]:
        database = self._database
        try:
            yield database
        except Exception as error:
            if database is self._database and self._is_lost_session(error):
                self._lost_in_a_row += 1
                if self._lost_in_a_row >= LOST_IN_A_ROW:
                    await self._replace(database)
            raise
        if database is self._database:
            self._lost_in_a_row = 0

    async def _replace(self, old: Any) -> None:
        """Does no I/O: the first call on the new database makes its session."""
        self._lost_in_a_row = 0
        new = await self._connect()
        if self._database is not old:
            await _close(new)  # another call has replaced it meanwhile
            return
        self._database = new
        _log.warning("spanner_session_replaced", lost_in_a_row=LOST_IN_A_ROW)
        # In a task, so that the failed call is answered without waiting for it.
        closing = asyncio.create_task(_close_in_time(old))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close_in_time(database: Any) -> None:
    with anyio.move_on_after(CLOSE_SECONDS):
        await _close(database)


async def _close(database: Any) -> None:
    """Stop the client's task. The channel closes with the last call on it."""
    try:
        await database.close()
    except Exception as error:  # noqa: BLE001 - the client raises here what its task ended with, days ago
        _log.warning("spanner_close_failed", error=type(error).__name__)

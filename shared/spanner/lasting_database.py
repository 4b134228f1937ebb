"""A Spanner database that outlives its session.

The client works on one multiplexed session. It replaces it every 7 days, in a task that ends for good where a single
CreateSession fails; Spanner deletes the session after 28 days, and from then on every call fails with NOT_FOUND in a
process that looks healthy (google-cloud-spanner 3.71, `_async/database_sessions_manager.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from shared.process.logs import get_logger

LOST_IN_A_ROW: Final = 3
"""Calls that find the session gone, with none that succeeds between them, before it is replaced. One could be a slip of
Spanner's; those that fail are answered as unavailable, so there should be few."""

CLOSE_SECONDS: Final = 1.0
"""To stop a client's task that may be in a call; nothing is lost with it."""

_log = get_logger()


class LastingDatabase:
    """The client's database, or the next one of it. Calls that are under way on an old one end on it."""

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
        """Not bounded; the old ones are."""
        await asyncio.gather(*self._closing)
        await _close(self._database)

    def __getattr__(self, name: str) -> Any:
        """What else a database has, of the present one and unwatched."""
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
        """Without I/O: the new one makes its session with its first call."""
        self._lost_in_a_row = 0
        new = await self._connect()
        if self._database is not old:
            await _close(new)  # another call was faster
            return
        self._database = new
        _log.warning("spanner_session_replaced", lost_in_a_row=LOST_IN_A_ROW)
        # Behind the call, which has failed and is to say so.
        closing = asyncio.create_task(_close_in_time(old))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close_in_time(database: Any) -> None:
    with anyio.move_on_after(CLOSE_SECONDS):
        await _close(database)


async def _close(database: Any) -> None:
    """Stops its task; the channel closes with the last call that holds it."""
    try:
        await database.close()
    except Exception as error:  # noqa: BLE001 - the client raises here what its task ended with, days ago
        _log.warning("spanner_close_failed", error=type(error).__name__)

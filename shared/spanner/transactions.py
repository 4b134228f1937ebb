"""Read-write transactions on Spanner: bounded in time, with translated errors, and one at a time on the emulator."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import datetime
from typing import Any, TypeVar, cast

import anyio
from google.api_core import exceptions as google

from shared.spanner.connection import ABORTED_RETRY_SECONDS, spanner_call
from shared.spanner.reading import AT_INTERVALS

T = TypeVar("T")


class Transactions:
    """The transactions of one database, which has one session: everything that writes to it must share one instance."""

    def __init__(self, database: Any, *, one_at_a_time: bool) -> None:
        """`one_at_a_time` is for the emulator."""
        self.database = database
        # The client begins all read-write transactions on one multiplexed session, which the emulator (1.5.28) treats
        # as an ordinary one: a second transaction ends the first, with NOT_FOUND or FAILED_PRECONDITION instead of
        # ABORTED. A concurrent commit is aborted, or aborts the transaction: two lanes did half of their work twice.
        # Spanner itself runs all of them side by side.
        self._turn = anyio.Lock() if one_at_a_time else nullcontext()

    async def run(self, work: Callable[[Any], Awaitable[T]], *, within_seconds: float) -> T:
        """Run `work` in a transaction and return its result. `work` is called again each time Spanner aborts it.

        `within_seconds` does not bound the wait for other transactions on the emulator.

        Raises:
            StorageUnavailableError: not known whether it was committed.
        """
        async with self._turn, spanner_call(within_seconds):
            # In a task of its own: when the client cannot get its session, it leaves a mark in the caller's context, by
            # which it takes every later transaction for a nested one.
            done = await asyncio.create_task(
                self.database.run_in_transaction(
                    work, timeout_secs=within_seconds, default_retry_delay=ABORTED_RETRY_SECONDS
                )
            )
        return cast("T", done)

    async def commit(self, write: Callable[[Any], None], *, within_seconds: float) -> bool:
        """Commit what `write` adds to a batch, without a read; False if a row to update does not exist.

        Raises:
            StorageUnavailableError: not known whether it was committed.
        """
        async with self._turn, spanner_call(within_seconds):
            try:
                async with self.database.batch(
                    timeout_secs=within_seconds, default_retry_delay=ABORTED_RETRY_SECONDS
                ) as batch:
                    write(batch)
            except google.NotFound:
                return False
        return True


async def current_time(transaction: Any) -> datetime:
    """Spanner's time. Compare columns with it, never with a process's own clock."""
    found = await transaction.execute_sql("SELECT CURRENT_TIMESTAMP()", retry=AT_INTERVALS)
    (now,) = [row[0] async for row in found]
    return cast("datetime", now)

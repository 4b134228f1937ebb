"""Read-write transactions on Spanner: bounded, translated, and in turn where it is the emulator."""

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
    """Of one database. Its session is one, so whatever writes through the same database shares these."""

    def __init__(self, database: Any, *, one_at_a_time: bool) -> None:
        self.database = database
        # The client begins all read-write transactions on one multiplexed session, which the emulator (1.5.28) takes
        # for an ordinary one: a second transaction ends the first, with NOT_FOUND or FAILED_PRECONDITION in place of
        # ABORTED. A commit beside one is aborted, or aborts it: two lanes did half of their work twice. Spanner itself
        # runs all of them side by side.
        self._turn = anyio.Lock() if one_at_a_time else nullcontext()

    async def run(self, work: Callable[[Any], Awaitable[T]], *, within_seconds: float) -> T:
        """What `work` makes of a transaction; it is called again where Spanner aborts it.

        To wait for one's turn is not bounded: it says nothing of Spanner.

        Raises:
            StorageUnavailableError: not known whether it was committed.
        """
        async with self._turn, spanner_call(within_seconds):
            # In a task of its own: where its session could not be had, the client leaves a mark in the caller's context
            # by which it takes every later transaction for a nested one.
            done = await asyncio.create_task(
                self.database.run_in_transaction(
                    work, timeout_secs=within_seconds, default_retry_delay=ABORTED_RETRY_SECONDS
                )
            )
        return cast("T", done)

    async def commit(self, write: Callable[[Any], None], *, within_seconds: float) -> bool:
        """One commit, without a read, of what `write` adds to a batch; False where a row of it does not exist.

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
    """Spanner's, which every comparison with a column takes: the processes' clocks may differ."""
    found = await transaction.execute_sql("SELECT CURRENT_TIMESTAMP()", retry=AT_INTERVALS)
    (now,) = [row[0] async for row in found]
    return cast("datetime", now)

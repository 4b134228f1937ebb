"""Collecting: brings dead letters from their topic into Spanner, where operators read them.

Beside the work and never in its way: while Spanner or Pub/Sub is away the letters wait in their subscription.
"""

from collections.abc import Sequence
from typing import Final

import anyio

from shared.errors import (
    EventLoggingError,
    StoragePreconditionError,
    StorageRejectedError,
    SubscriptionUnavailableError,
)
from shared.events.dead_letter_table import DeadLetterRow, DeadLetterTable, LetterKind
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger
from worker.dead_letter_messages import read_letter
from worker.leases import Leases
from worker.stoppable_waits import Pauses, StoppableWaits
from worker.subscription import ReceivedMessage, Subscription

LETTERS_PER_PULL: Final = 100
"""Of one transaction, too. At 64 KiB each these are 9 MB on the wire."""

_log = get_logger()


class DeadLetterCollector:
    """One a worker process. Several workers do no harm, nor does a letter that comes twice: each is kept by its id."""

    def __init__(self, *, subscription: Subscription, table: DeadLetterTable, stopping: anyio.Event) -> None:
        self._subscription = subscription
        self._leases = Leases(subscription)
        self._table = table
        self._stopping = stopping
        self._waits = StoppableWaits(stopping)
        self._pauses = Pauses(stopping)

    async def run(self) -> None:
        """Collect until `stopping` is set; what is being written then is let finish."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._waits.watch)
            while not self._stopping.is_set():
                messages = await self._waits.unless_stopping(self._pull)
                if messages:
                    await self.keep(messages)

    async def _pull(self) -> Sequence[ReceivedMessage]:
        try:
            messages = await self._subscription.pull(max_messages=LETTERS_PER_PULL)
        except SubscriptionUnavailableError as error:
            _log.warning("dead_letter_pull_failed", error=str(error), failures_in_a_row=self._pauses.setbacks + 1)
            await self._pauses.pause()
            return []
        return messages

    async def keep(self, messages: Sequence[ReceivedMessage]) -> None:
        """Write them, acknowledge what is written, and give the rest back; after a failure with a pause."""
        self._leases.hold(messages)
        try:
            kept = await self._write(messages)
        except Exception:  # noqa: BLE001 - a bug here must not end the worker, which forwards
            _log.exception("collecting_crashed", messages=len(messages))
            kept = []
        await self._leases.acknowledge(kept)
        left = self._leases.leased()
        if left:
            await self._leases.nack(left)
            await self._pauses.pause()
        else:
            self._pauses.over()

    async def _write(self, messages: Sequence[ReceivedMessage]) -> Sequence[ReceivedMessage]:
        """Those that are in the table now."""
        letters = [read_letter(message) for message in messages]
        try:
            new = await self._table.collect(letters)
        except (StorageRejectedError, StoragePreconditionError) as error:
            if len(messages) > 1:  # one of them, or the database: alone each tells
                return [message for message in messages if await self._write([message])]
            _log.error("dead_letter_not_collected", message_id=messages[0].message_id, error=str(error))
            return []
        except EventLoggingError as error:
            _log.warning("collecting_failed", error=str(error), failures_in_a_row=self._pauses.setbacks + 1)
            return []
        fault_point("after_collect")
        _log.info("dead_letters_collected", messages=len(messages), new=new, poison=_poison(letters))
        return messages


def _poison(letters: Sequence[DeadLetterRow]) -> int:
    return sum(letter.kind is LetterKind.POISON for letter in letters)

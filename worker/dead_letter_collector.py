"""The dead-letter collector: moves dead letters from their topic into Spanner, where operators read them.

Forwarding never waits for it. While Spanner or Pub/Sub is away, dead letters stay in their subscription.
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
from worker.dead_letter_messages import read_dead_letter
from worker.leases import Leases
from worker.stoppable_waits import Pauses, StoppableWaits
from worker.subscription import ReceivedMessage, Subscription

MESSAGES_PER_PULL: Final = 100
"""Also the most that one transaction writes. At 64 KiB each these are 9 MB on the wire."""

_log = get_logger()


class DeadLetterCollector:
    """One per worker process. Safe to run in several processes, and idempotent: a dead letter is stored once."""

    def __init__(self, *, subscription: Subscription, table: DeadLetterTable, stopping: anyio.Event) -> None:
        self._subscription = subscription
        self._leases = Leases(subscription)
        self._table = table
        self._stopping = stopping
        self._waits = StoppableWaits(stopping)
        self._pauses = Pauses(stopping)

    async def run(self) -> None:
        """Collect until `stopping` is set; a write in progress is finished."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._waits.watch)
            while not self._stopping.is_set():
                messages = await self._waits.unless_stopping(self._pull)
                if messages:
                    await self.store(messages)

    async def _pull(self) -> Sequence[ReceivedMessage]:
        try:
            messages = await self._subscription.pull(max_messages=MESSAGES_PER_PULL)
        except SubscriptionUnavailableError as error:
            _log.warning("dead_letter_pull_failed", error=str(error), failures_in_a_row=self._pauses.failures + 1)
            await self._pauses.pause()
            return []
        return messages

    async def store(self, messages: Sequence[ReceivedMessage]) -> None:
        """Write the messages, ack what is written and nack the rest, followed by a pause."""
        self._leases.add(messages)
        try:
            stored = await self._write(messages)
        except Exception:  # noqa: BLE001 - a bug here must not end the worker, which forwards
            _log.exception("collecting_crashed", messages=len(messages))
            stored = []
        await self._leases.acknowledge(stored)
        unstored = self._leases.leased()
        if unstored:
            await self._leases.nack(unstored)
            await self._pauses.pause()
        else:
            self._pauses.reset()

    async def _write(self, messages: Sequence[ReceivedMessage]) -> Sequence[ReceivedMessage]:
        """Return the messages that are in the table now."""
        rows = [read_dead_letter(message) for message in messages]
        try:
            new = await self._table.collect(rows)
        except (StorageRejectedError, StoragePreconditionError) as error:
            if len(messages) > 1:  # one by one, so that the refused message fails alone
                return [message for message in messages if await self._write([message])]
            _log.error("dead_letter_not_collected", message_id=messages[0].message_id, error=str(error))
            return []
        except EventLoggingError as error:
            _log.warning("collecting_failed", error=str(error), failures_in_a_row=self._pauses.failures + 1)
            return []
        fault_point("after_collect")
        _log.info("dead_letters_collected", messages=len(messages), new=new, poison=_poison_count(rows))
        return messages


def _poison_count(rows: Sequence[DeadLetterRow]) -> int:
    return sum(row.kind is LetterKind.POISON for row in rows)

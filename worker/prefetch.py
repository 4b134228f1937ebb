"""Prefetch: several pulls are outstanding, and their messages wait here, leased, until a lane takes them.

Pub/Sub answers a pull after 10 to 100 ms, with fewer messages than it was asked for although more are there, or with
none. With one pull after the other, lanes would wait and have small batches.
"""

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Final

import anyio

from shared.errors import SubscriptionUnavailableError
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger
from worker.backlog_position import BacklogPosition
from worker.circuit import Circuit
from worker.leases import Leases
from worker.stoppable_waits import Pauses, StoppableWaits
from worker.subscription import PULL_TIMEOUT_SECONDS, ReceivedMessage, Subscription

MAX_PREFETCHED_BYTES: Final = 32 * 1024 * 1024
"""While this much message data waits here no pull begins; those outstanding by then may bring more."""

TAKE_TIMEOUT_SECONDS: Final = 1.0
"""How long a lane waits here before it looks for other work. The waiting lanes may have all turns, while there are held
messages or the circuit has opened."""

_log = get_logger()


class Prefetcher:
    """One per process, shared by all lanes; for the event loop's thread.

    While the circuit is open `run` begins no pull; probes call `pull` themselves.
    """

    def __init__(
        self,
        *,
        subscription: Subscription,
        leases: Leases,
        circuit: Circuit,
        stopping: anyio.Event,
        pulls: int,
        pull_messages: int,
        prefetch_messages: int,
        position: BacklogPosition,
    ) -> None:
        """`pulls` are outstanding at once, each for `pull_messages`, while fewer than `prefetch_messages` wait here."""
        self._subscription = subscription
        self._leases = leases
        self._circuit = circuit
        self._stopping = stopping
        self._pulls = pulls
        self._pull_messages = pull_messages
        self._prefetch_messages = prefetch_messages
        self._position = position
        self._waits = StoppableWaits(stopping)
        self._pauses = Pauses(stopping)
        self._retrying = anyio.Lock()  # after a failure a single pull finds out whether Pub/Sub is back
        self._messages: deque[ReceivedMessage] = deque()
        self._bytes = 0
        self._added = anyio.Event()
        self._taken = anyio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    async def run(self) -> None:
        """Pull until `stopping` is set, then nack what no lane has taken."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._waits.watch)
            for _ in range(self._pulls):
                tasks.start_soon(self._pull_until_stopped)
        await self._leases.nack(self.take_now())

    async def take(self, max_messages: int) -> list[ReceivedMessage]:
        """Wait for messages, and take up to `max_messages`, the oldest first.

        Returns none after TAKE_TIMEOUT_SECONDS, or if another lane was faster.
        """
        if not self._messages:
            with anyio.move_on_after(TAKE_TIMEOUT_SECONDS) as wait:
                await self._added.wait()
            if wait.cancelled_caught:
                self._position.nothing_waits()
        return self.take_now(max_messages)

    def take_now(self, max_messages: int | None = None) -> list[ReceivedMessage]:
        """Take without waiting: up to `max_messages`, the oldest first, or all."""
        count = len(self._messages) if max_messages is None else min(max_messages, len(self._messages))
        taken = [self._messages.popleft() for _ in range(count)]
        self._bytes -= sum(len(message.data) for message in taken)
        self._taken.set()
        self._taken = anyio.Event()
        return taken

    async def pull(
        self, max_messages: int, pauses: Pauses, *, wait_seconds: float = PULL_TIMEOUT_SECONDS
    ) -> list[ReceivedMessage]:
        """Pull once for the caller, who gets the messages, leased. After a failed pull: a pause, and none."""
        try:
            messages = await self._subscription.pull(max_messages=max_messages, wait_seconds=wait_seconds)
        except SubscriptionUnavailableError as error:
            _log.warning("pull_failed", error=str(error), failures_in_a_row=pauses.failures + 1)
            await pauses.pause()
            return []
        self._leases.add(messages)
        if messages:
            fault_point("after_pull")
        return messages

    async def _pull_until_stopped(self) -> None:
        while not self._stopping.is_set():
            await self._waits.unless_stopping(self._wait_for_room)
            if self._pauses.failures:
                async with self._retrying:
                    if self._pauses.failures:
                        await self._pull_for_lanes()
            else:
                await self._pull_for_lanes()

    async def _pull_for_lanes(self) -> None:
        failures = self._pauses.failures
        messages = await self._waits.unless_stopping(partial(self.pull, self._pull_messages, self._pauses))
        if self._pauses.failures == failures:
            self._pauses.reset()
        if messages:
            self._add(messages)

    async def _wait_for_room(self) -> None:
        while True:
            await self._circuit.wait_closed()
            if len(self._messages) < self._prefetch_messages and self._bytes < MAX_PREFETCHED_BYTES:
                return
            await self._taken.wait()

    def _add(self, messages: Iterable[ReceivedMessage]) -> None:
        for message in messages:
            self._messages.append(message)
            self._bytes += len(message.data)
        self._added.set()
        self._added = anyio.Event()

"""Pulling ahead: several pulls are outstanding, and what they bring waits here, leased, until a lane takes it.

Pub/Sub answers a pull after 10 to 100 ms, with fewer messages than it was asked for although more are there, or with
none: one pull after the other would leave the lanes waiting, and each with a small batch.
"""

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Final

import anyio

from shared.errors import SubscriptionUnavailableError
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger
from worker.circuit import Circuit
from worker.leases import Leases
from worker.stoppable_waits import Pauses, StoppableWaits
from worker.subscription import PULL_SECONDS, ReceivedMessage, Subscription

MAX_AHEAD_BYTES: Final = 32 * 1024 * 1024
"""Of what waits here. Beyond it no pull begins; those that are outstanding then may bring more."""

TAKE_SECONDS: Final = 1.0
"""How long a lane waits here before it looks elsewhere. All turns may be those of lanes that wait, while what is parked
or a circuit that has opened is work for them."""

_log = get_logger()


class Prefetcher:
    """Shared by all lanes of a process. While the circuit is open no pull begins but those of probes."""

    def __init__(
        self,
        *,
        subscription: Subscription,
        leases: Leases,
        circuit: Circuit,
        stopping: anyio.Event,
        pulls: int,
        pull_messages: int,
        ahead_messages: int,
    ) -> None:
        """`pulls` are outstanding at once, each for `pull_messages`, while fewer than `ahead_messages` wait here."""
        self._subscription = subscription
        self._leases = leases
        self._circuit = circuit
        self._stopping = stopping
        self._pulls = pulls
        self._pull_messages = pull_messages
        self._ahead_messages = ahead_messages
        self._waits = StoppableWaits(stopping)
        self._ahead: deque[ReceivedMessage] = deque()
        self._bytes = 0
        self._come = anyio.Event()
        self._taken = anyio.Event()

    def __len__(self) -> int:
        return len(self._ahead)

    async def run(self) -> None:
        """Pull until `stopping` is set, and give back what no lane has taken by then."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._waits.watch)
            for _ in range(self._pulls):
                tasks.start_soon(self._pull_on)
        await self._leases.nack(self.take_now())

    async def take(self, max_messages: int) -> list[ReceivedMessage]:
        """The oldest of what waits, as soon as anything does; nothing after TAKE_SECONDS, or where others took it."""
        if not self._ahead:
            with anyio.move_on_after(TAKE_SECONDS):
                await self._come.wait()
        return self.take_now(max_messages)

    def take_now(self, max_messages: int | None = None) -> list[ReceivedMessage]:
        """The same without waiting; all of it where no number is given."""
        count = len(self._ahead) if max_messages is None else min(max_messages, len(self._ahead))
        taken = [self._ahead.popleft() for _ in range(count)]
        self._bytes -= sum(len(message.data) for message in taken)
        self._taken.set()
        self._taken = anyio.Event()
        return taken

    async def pull(
        self, max_messages: int, pauses: Pauses, *, wait_seconds: float = PULL_SECONDS
    ) -> list[ReceivedMessage]:
        """One pull, for whoever calls; where it fails, a pause and nothing."""
        try:
            messages = await self._subscription.pull(max_messages=max_messages, wait_seconds=wait_seconds)
        except SubscriptionUnavailableError as error:
            _log.warning("pull_failed", error=str(error), failures_in_a_row=pauses.setbacks + 1)
            await pauses.pause()
            return []
        self._leases.hold(messages)
        if messages:
            fault_point("after_pull")
        return messages

    async def _pull_on(self) -> None:
        pauses = Pauses(self._stopping)
        while not self._stopping.is_set():
            await self._waits.unless_stopping(self._until_wanted)
            before = pauses.setbacks
            messages = await self._waits.unless_stopping(partial(self.pull, self._pull_messages, pauses))
            if pauses.setbacks == before:
                pauses.over()
            if messages:
                self._keep(messages)

    async def _until_wanted(self) -> None:
        while True:
            await self._circuit.closed()
            if len(self._ahead) < self._ahead_messages and self._bytes < MAX_AHEAD_BYTES:
                return
            await self._taken.wait()

    def _keep(self, messages: Iterable[ReceivedMessage]) -> None:
        for message in messages:
            self._ahead.append(message)
            self._bytes += len(message.data)
        self._come.set()
        self._come = anyio.Event()

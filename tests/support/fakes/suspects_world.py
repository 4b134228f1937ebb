"""A worker whose trials of suspects are scripted."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from tests.support.fakes.worker_world import WorkerWorld
from worker.disposition import Disposition
from worker.subscription import ReceivedMessage
from worker.suspects import Suspects

BACKOFF = 15.0
CHECK_SECONDS = 0.002


async def checked() -> None:
    """Time in which every loop has looked."""
    await anyio.sleep(5 * CHECK_SECONDS)


class SuspectsWorld(WorkerWorld):
    """Suspects whose `try_alone` returns, waits or raises as the test says."""

    def __init__(self) -> None:
        super().__init__(suspect_backoff_seconds=BACKOFF)
        self.disposition = Disposition.ACK
        self.dispositions: list[Disposition] = []
        """What the next trials end in, before `disposition` does for all others."""

        self.takes_seconds = 0.0
        self.tried: list[tuple[str, float]] = []
        """Message id, and the monotonic time of its trial."""

        self.in_work = 0
        self.gate: anyio.Event | None = None
        self.error: Exception | None = None
        self.suspects = Suspects(
            try_alone=self.try_alone,
            leases=self.leases,
            circuit=self.circuit,
            clock=self.clock,
            stopping=self.stopping,
            backoff_seconds=BACKOFF,
            is_notorious=self.poison.is_notorious,
        )

    async def try_alone(self, messages: Sequence[ReceivedMessage]) -> dict[str, Disposition]:
        (message,) = messages
        self.tried.append((message.message_id, self.clock.monotonic()))
        self.clock.advance(self.takes_seconds)
        self.in_work += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.in_work -= 1
        return {message.ack_id: self.dispositions.pop(0) if self.dispositions else self.disposition}

    async def held(self, count: int = 1) -> list[ReceivedMessage]:
        """Messages that were pulled and are leased."""
        await self.log(count)
        messages = await self.subscription.pull(max_messages=count)
        self.leases.add(messages)
        return messages

    def times(self) -> list[float]:
        return [at for _, at in self.tried]

    @asynccontextmanager
    async def trying(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.suspects.run)
            yield
            self.stopping.set()
            tasks.cancel_scope.deadline = anyio.current_time() + 1
        assert not tasks.cancel_scope.cancelled_caught, "did not stop"

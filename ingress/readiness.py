"""Whether the ingress can do its work: Spanner answers and the forward topic exists.

For a start-up probe and for people. Not for a liveness probe, nor to take instances out of service: an outage of
Pub/Sub costs delay only, and one of Spanner is better told by `unavailable` than by no instance at all.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.pubsub_v1 import PublisherAsyncClient

from shared.cancellation import own_cancellation
from shared.telemetry.tracing import untraced

CHECK_SECONDS: Final = 2.0
"""For both together: a probe's own time-out is a few seconds."""


class Readiness:
    def __init__(self, *, database: Any, publisher: PublisherAsyncClient, topic: str) -> None:
        self._database = database
        self._publisher = publisher
        self._topic = topic

    async def check(self) -> dict[str, bool]:
        """What is reachable, by name; takes CHECK_SECONDS at most."""
        reachable = {"spanner": False, "topic": False}

        async def probe(name: str, call: Callable[[], Awaitable[object]]) -> None:
            try:
                async with own_cancellation():
                    await call()
            except (GoogleAPICallError, RetryError):
                return
            reachable[name] = True

        with anyio.move_on_after(CHECK_SECONDS):
            async with anyio.create_task_group() as probes:
                probes.start_soon(probe, "spanner", self._ask_spanner)
                probes.start_soon(probe, "topic", self._ask_for_topic)
        return reachable

    async def _ask_spanner(self) -> None:
        # Else each probe would begin a trace.
        with untraced():
            async with self._database.snapshot() as snapshot:
                async for _ in await snapshot.execute_sql("SELECT 1"):
                    pass

    async def _ask_for_topic(self) -> None:
        await self._publisher.get_topic(topic=self._topic, timeout=CHECK_SECONDS)

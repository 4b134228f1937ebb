"""Whether the ingress can do its work: Spanner answers. That is all it takes to accept an event.

Pub/Sub is not asked: an outage of it costs delay only, and an instance that starts in one has to serve. For a start-up
probe and for people. Not for a liveness probe, nor to take instances out of service: an outage of Spanner is better
told by `unavailable` than by no instance at all.
"""

from typing import Any, Final

import anyio
from google.api_core.exceptions import GoogleAPICallError, RetryError

from shared.cancellation import anyio_cancellation
from shared.spanner.reading import AT_INTERVALS
from shared.telemetry.tracing import untraced

CHECK_SECONDS: Final = 2.0
"""A probe's own time-out is a few seconds."""


class Readiness:
    def __init__(self, database: Any) -> None:
        self._database = database

    async def check(self) -> bool:
        """Takes CHECK_SECONDS at most."""
        with anyio.move_on_after(CHECK_SECONDS):
            try:
                async with anyio_cancellation():
                    await self._ask_spanner()
            except (GoogleAPICallError, RetryError):
                return False
            return True
        return False

    async def _ask_spanner(self) -> None:
        # Else each probe would begin a trace.
        with untraced():
            async with self._database.snapshot() as snapshot:
                async for _ in await snapshot.execute_sql("SELECT 1", retry=AT_INTERVALS):
                    pass

"""Readiness: whether Spanner answers, which is all that accepting an event takes.

Pub/Sub is not checked: its outage only delays events, and an instance that starts meanwhile must serve. Meant for a
start-up probe and for people. Not for a liveness probe, nor for taking instances out of service: while Spanner is down,
answering `unavailable` is better than having no instance.
"""

from typing import Any, Final

import anyio
from google.api_core.exceptions import GoogleAPICallError, RetryError

from shared.cancellation import anyio_cancellation
from shared.spanner.reading import AT_INTERVALS
from shared.telemetry.tracing import untraced

CHECK_SECONDS: Final = 2.0
"""Below a probe's own timeout, which is a few seconds."""


class Readiness:
    def __init__(self, database: Any) -> None:
        self._database = database

    async def check(self) -> bool:
        """Whether Spanner answers a query within CHECK_SECONDS."""
        with anyio.move_on_after(CHECK_SECONDS):
            try:
                async with anyio_cancellation():
                    await self._query_spanner()
            except (GoogleAPICallError, RetryError):
                return False
            return True
        return False

    async def _query_spanner(self) -> None:
        with untraced():  # otherwise each probe would start a trace
            async with self._database.snapshot() as snapshot:
                async for _ in await snapshot.execute_sql("SELECT 1", retry=AT_INTERVALS):
                    pass

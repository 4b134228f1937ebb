"""What workers tell of themselves, on Spanner."""

from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared.spanner import ABORTED_RETRY_SECONDS, translated
from shared.spanner_reading import AT_INTERVALS
from shared.worker_states import SeenWorker, WorkerState

WORKERS_TABLE: Final = "NestEventWorker"

_COLUMNS: Final = ("worker_id", "version", "started_at", "circuit_reason", "circuit_since", "stopped")

# Bounded by the day for which rows are kept: deletion may lag behind it.
_SEEN: Final = f"""
SELECT {", ".join(_COLUMNS)}, seen_at, CURRENT_TIMESTAMP() FROM {WORKERS_TABLE}
WHERE seen_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY) ORDER BY seen_at DESC"""  # noqa: S608 - constants


class SpannerWorkerStates:
    """WorkerStates on NestEventWorker."""

    def __init__(self, database: Any, *, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds

    async def report(self, state: WorkerState) -> None:
        row = (
            state.worker_id,
            state.version,
            state.started_at,
            state.circuit_reason,
            state.circuit_since,
            state.is_stopped,
            COMMIT_TIMESTAMP,
        )
        async with (
            translated(self._timeout_seconds),
            self._database.batch(
                timeout_secs=self._timeout_seconds, default_retry_delay=ABORTED_RETRY_SECONDS
            ) as batch,
        ):
            batch.insert_or_update(WORKERS_TABLE, (*_COLUMNS, "seen_at"), [row])

    async def seen(self) -> list[SeenWorker]:
        async with translated(self._timeout_seconds), self._database.snapshot() as snapshot:
            return [
                SeenWorker(WorkerState(*row[:6]), seen_ago=row[7] - row[6])
                async for row in await snapshot.execute_sql(_SEEN, retry=AT_INTERVALS)
            ]

"""What processes tell of themselves, on Spanner."""

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared.process.process_states import ProcessState, Report, Role, SeenProcess
from shared.spanner.connection import ABORTED_RETRY_SECONDS, spanner_call
from shared.spanner.reading import AT_INTERVALS

PROCESSES_TABLE: Final = "NestEventProcess"

_OWN: Final = ("process_id", "role", "version", "started_at", "interval_seconds", "stopped")
_COLUMNS: Final = (*_OWN, *(each.name for each in fields(Report)))

# Bounded by the day for which rows are kept: deletion may lag behind it.
_SEEN: Final = f"""
SELECT CURRENT_TIMESTAMP(), seen_at, {", ".join(_COLUMNS)} FROM {PROCESSES_TABLE}
WHERE seen_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY) ORDER BY seen_at DESC"""  # noqa: S608 - constants


class SpannerProcessStates:
    """ProcessStates on NestEventProcess."""

    def __init__(self, database: Any, *, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds

    async def report(self, state: ProcessState) -> None:
        own = (
            state.process_id,
            state.role.value,
            state.version,
            state.started_at,
            state.interval_seconds,
            state.is_stopped,
        )
        async with (
            spanner_call(self._timeout_seconds),
            self._database.batch(
                timeout_secs=self._timeout_seconds, default_retry_delay=ABORTED_RETRY_SECONDS
            ) as batch,
        ):
            row = (*own, *astuple(state.report), COMMIT_TIMESTAMP)
            batch.insert_or_update(PROCESSES_TABLE, (*_COLUMNS, "seen_at"), [row])

    async def seen(self) -> list[SeenProcess]:
        async with spanner_call(self._timeout_seconds), self._database.snapshot() as snapshot:
            return [
                SeenProcess(_state(row[2:]), seen_ago=row[0] - row[1])
                async for row in await snapshot.execute_sql(_SEEN, retry=AT_INTERVALS)
            ]


def _state(row: Sequence[Any]) -> ProcessState:
    process_id, role, version, started_at, interval_seconds, stopped, *told = row
    return ProcessState(
        process_id=process_id,
        role=Role(role),
        version=version,
        started_at=started_at,
        interval_seconds=interval_seconds,
        report=Report(**dict(zip(_COLUMNS[len(_OWN) :], told, strict=True))),
        is_stopped=stopped,
    )

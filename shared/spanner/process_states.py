"""Reports of running processes, on Spanner."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared.process.process_states import ProcessState, Report, Role, SeenProcess
from shared.spanner.connection import ABORTED_RETRY_SECONDS, spanner_call
from shared.spanner.reading import AT_INTERVALS

PROCESSES_TABLE: Final = "NestEventProcess"

_REPORT_COLUMNS: Final = tuple(each.name for each in fields(Report))
_COLUMNS: Final = ("process_id", "role", "version", "started_at", "interval_seconds", "stopped", *_REPORT_COLUMNS)

# Limited to a day, for which rows are kept: their deletion may be late.
_SEEN: Final = f"""
SELECT CURRENT_TIMESTAMP(), seen_at, {", ".join(_COLUMNS)} FROM {PROCESSES_TABLE}
WHERE seen_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY) ORDER BY seen_at DESC"""  # noqa: S608 - constants


class SpannerProcessStates:
    """ProcessStates on NestEventProcess."""

    def __init__(self, database: Any, *, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds

    async def report(self, state: ProcessState) -> None:
        values: dict[str, Any] = {
            "process_id": state.process_id,
            "role": state.role.value,
            "version": state.version,
            "started_at": state.started_at,
            "interval_seconds": state.interval_seconds,
            "stopped": state.is_stopped,
            "seen_at": COMMIT_TIMESTAMP,
            **asdict(state.report),
        }
        async with (
            spanner_call(self._timeout_seconds),
            self._database.batch(
                timeout_secs=self._timeout_seconds, default_retry_delay=ABORTED_RETRY_SECONDS
            ) as batch,
        ):
            batch.insert_or_update(PROCESSES_TABLE, tuple(values), [tuple(values.values())])

    async def seen(self) -> list[SeenProcess]:
        async with spanner_call(self._timeout_seconds), self._database.snapshot() as snapshot:
            rows = await snapshot.execute_sql(_SEEN, retry=AT_INTERVALS)
            return [SeenProcess(_state(values), seen_ago=now - seen_at) async for now, seen_at, *values in rows]


def _state(values: Sequence[Any]) -> ProcessState:
    row = dict(zip(_COLUMNS, values, strict=True))
    return ProcessState(
        process_id=row["process_id"],
        role=Role(row["role"]),
        version=row["version"],
        started_at=row["started_at"],
        interval_seconds=row["interval_seconds"],
        report=Report(**{column: row[column] for column in _REPORT_COLUMNS}),
        is_stopped=row["stopped"],
    )

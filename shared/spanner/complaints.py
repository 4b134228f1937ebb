"""Complaints on Spanner."""

from collections.abc import Sequence
from typing import Any, Final

from google.cloud.spanner_v1 import param_types

from shared.events.complaints import (
    COMPLAINT_SHARDS,
    COMPLAINT_TABLE,
    OTHER,
    Complaint,
    ComplaintChoice,
    ComplaintKind,
    ComplaintSums,
    HourlyCount,
    KindTotal,
    complaint_shard,
)
from shared.spanner.connection import ABORTED_RETRY_SECONDS, spanner_call
from shared.spanner.reading import AT_INTERVALS

SUM_SECONDS: Final = 30.0
"""The bound on a sum. A week of a hundred processes has a million rows."""

_COLUMNS: Final = ("complaint_shard", "hour", "process_id", "place", "kind", "caller", "event_name", "reason", "events")

# The shards come from an array, so that each is a range of its own of the table, from that hour on (accounting.py). One
# statement, so that list and totals are of one moment.
_SUMMED: Final = f"""
WITH summed AS (
  SELECT kind, caller, event_name, reason, SUM(events) AS events
  FROM UNNEST(@shards) AS shard
  JOIN@{{JOIN_METHOD=APPLY_JOIN}} {COMPLAINT_TABLE} AS c
    ON c.complaint_shard = shard AND c.hour >= TIMESTAMP_TRUNC(@since, HOUR, 'UTC')
  WHERE (@kind IS NULL OR kind = @kind)
    AND (@caller IS NULL OR caller IN (@caller, @other))
    AND (@event_name IS NULL OR event_name IN (@event_name, @other))
  GROUP BY kind, caller, event_name, reason
)
(SELECT kind, caller, event_name, reason, events, 0 AS other, 0 AS lines FROM summed
 ORDER BY events DESC, kind, caller, event_name, reason LIMIT @limit)
UNION ALL
SELECT kind, NULL, NULL, NULL, SUM(events), SUM(IF(event_name = @other, events, 0)), COUNT(*) FROM summed
GROUP BY kind"""  # noqa: S608 - constants

_TYPES: Final = {
    "shards": param_types.Array(param_types.INT64),
    "since": param_types.TIMESTAMP,
    "kind": param_types.STRING,
    "caller": param_types.STRING,
    "event_name": param_types.STRING,
    "other": param_types.STRING,
    "limit": param_types.INT64,
}


class SpannerComplaintTable:
    """ComplaintTable on NestEventComplaint."""

    def __init__(self, database: Any, *, timeout_seconds: float) -> None:
        """`timeout_seconds` bounds a write."""
        self._database = database
        self._timeout_seconds = timeout_seconds

    async def write(self, process_id: str, counts: Sequence[HourlyCount]) -> None:
        shard = complaint_shard(process_id)
        rows = [(shard, each.hour, process_id, each.place, *each.complaint, each.events) for each in counts]
        async with (
            spanner_call(self._timeout_seconds),
            self._database.batch(
                timeout_secs=self._timeout_seconds, default_retry_delay=ABORTED_RETRY_SECONDS
            ) as batch,
        ):
            batch.insert_or_update(COMPLAINT_TABLE, _COLUMNS, rows)

    async def summed(self, choice: ComplaintChoice, *, limit: int) -> ComplaintSums:
        values = {
            "shards": list(range(COMPLAINT_SHARDS)),
            "since": choice.since,
            "kind": choice.kind,
            "caller": choice.caller,
            "event_name": choice.event_name,
            "other": OTHER,
            "limit": limit,
        }
        async with spanner_call(SUM_SECONDS), self._database.snapshot() as snapshot:
            rows = [row async for row in await snapshot.execute_sql(_SUMMED, values, _TYPES, retry=AT_INTERVALS)]
        listed = [
            (Complaint(ComplaintKind(kind), caller, name, reason), events)
            for kind, caller, name, reason, events, *_ in rows
            if caller is not None
        ]
        # The order of a part of a union is not promised.
        listed.sort(key=lambda each: (-each[1], each[0]))
        totals = {ComplaintKind(row[0]): KindTotal(*row[4:]) for row in rows if row[1] is None}
        return ComplaintSums(listed, totals)

"""What a rule would apply to: the events of the last hour, and those that are pending now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from google.cloud.spanner_v1 import RequestOptions, param_types

from shared.events.rules import Match
from shared.spanner.accounting import SCAN_SECONDS
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import EVENTS_BY_TIME
from shared.spanner.reading import AT_INTERVALS
from shared.spanner.transactions import current_time
from worker.operators.state.backlog import Backlog

LAST: Final = timedelta(hours=1)
"""Long enough to show what a caller sends, short enough to be counted in seconds."""

SHOWN: Final = 10
"""Pairs of event name and caller that are shown one by one."""

# Reads that range of each shard in the index by time, so it costs by the events of the hour.
_EVENTS: Final = f"""
FROM {EVENTS_BY_TIME} AND e.ingested_at >= @since"""

_CONDITIONS: Final = {
    "event_name": "event_name = @event_name",
    "name_prefix": "STARTS_WITH(event_name, @name_prefix)",
    "event_type": "event_type = @event_type",
    "caller": "caller = @caller",
}


@dataclass(frozen=True, slots=True)
class Group:
    event_name: str
    caller: str | None
    events: int


@dataclass(frozen=True, slots=True)
class RuleForecast:
    """How many events match."""

    events: int
    """Accepted within LAST."""

    to_forward: int
    """Those of them that were to be forwarded."""

    largest: tuple[Group, ...]
    """The most frequent of them, by event name and caller."""

    pending: int
    """Pending now, among those that were looked at."""

    looked_at: int
    are_all_pending: bool
    """Whether all pending events were looked at; otherwise the oldest."""


async def forecast(database: Any, match: Match, *, shards: int) -> RuleForecast:
    """Count what matches. Changes nothing.

    Raises:
        StorageUnavailableError: no answer within SCAN_SECONDS.
    """
    given = {name: value for name in _CONDITIONS if (value := getattr(match, name)) is not None}
    clause = _EVENTS + "".join(f" AND {_CONDITIONS[name]}" for name in given)
    async with spanner_call(SCAN_SECONDS), database.snapshot() as snapshot:
        now = await current_time(snapshot)
    values = given | {"shards": list(range(shards)), "since": now - LAST}
    types = dict.fromkeys(given, param_types.STRING) | {
        "shards": param_types.Array(param_types.INT64),
        "since": param_types.TIMESTAMP,
    }
    ((events, to_forward),) = await _query(
        database, f"SELECT COUNT(*), COUNTIF(forward_to_statsig) {clause}", values, types
    )
    largest = await _query(
        database,
        f"SELECT event_name, caller, COUNT(*) AS events {clause} GROUP BY event_name, caller "
        f"ORDER BY events DESC, event_name LIMIT {SHOWN}",
        values,
        types,
    )
    oldest = await Backlog(database, shards=shards).oldest()
    return RuleForecast(
        events=events,
        to_forward=to_forward,
        largest=tuple(Group(*row) for row in largest),
        pending=sum(each.is_taken_by(match) for each in oldest.events),
        looked_at=len(oldest.events),
        are_all_pending=oldest.are_all,
    )


async def _query(database: Any, query: str, values: dict[str, Any], types: dict[str, Any]) -> list[Sequence[Any]]:
    low = RequestOptions(priority=RequestOptions.Priority.PRIORITY_LOW)
    async with spanner_call(SCAN_SECONDS), database.snapshot() as snapshot:
        rows = await snapshot.execute_sql(query, values, types, request_options=low, retry=AT_INTERVALS)
        return [row async for row in rows]

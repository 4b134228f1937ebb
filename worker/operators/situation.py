"""What goes on now, as the tables tell: what is pending and why, what was settled lately, what is dead."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from google.cloud.spanner_v1 import RequestOptions, param_types

from shared.accounting import SCAN_SECONDS
from shared.event_log import LOG_TABLE
from shared.forward_ledger import LEDGER_TABLE, ForwardState
from shared.spanner import translated

_PENDING: Final = f"""
@{{spanner_emulator.disable_query_null_filtered_index_check=true}}
SELECT f.last_reason, COUNT(*), MIN(f.pending_since), MAX(f.last_attempt_at), CURRENT_TIMESTAMP()
FROM {LEDGER_TABLE}@{{FORCE_INDEX=NestEventForwardPending}} AS f
WHERE f.forward_shard >= 0 AND f.pending_since IS NOT NULL GROUP BY f.last_reason"""  # noqa: S608 - a constant

_SETTLED: Final = f"""
SELECT state, last_reason, COUNT(*), COUNTIF(settled_at >= @since), MAX(last_attempt_at)
FROM {LEDGER_TABLE} WHERE settled_at IS NOT NULL GROUP BY state, last_reason"""  # noqa: S608 - as above

_ACCEPTED: Final = f"""
SELECT COUNT(*), CURRENT_TIMESTAMP() FROM {LOG_TABLE}
WHERE forward_to_statsig AND ingested_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL @window SECOND)"""  # noqa: S608 - as above


@dataclass(frozen=True, slots=True)
class Waiting:
    """Pending events whose last attempt ended alike."""

    reason: str | None
    """None: nobody tried yet."""

    events: int
    oldest: datetime
    last_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class Situation:
    at: datetime
    window: timedelta
    accepted: int
    delivered: int
    dead: int
    """These three within the window."""

    waiting: tuple[Waiting, ...]
    dead_by_reason: dict[str, int]
    """All dead events that the ledger has, the most frequent reason first."""

    last_errors: dict[str, datetime]
    """When an attempt last ended so, the latest first; of every event only its last attempt is known."""

    @property
    def pending(self) -> int:
        return sum(each.events for each in self.waiting)

    @property
    def oldest_pending(self) -> timedelta | None:
        return self.at - min(each.oldest for each in self.waiting) if self.waiting else None

    @property
    def held_up_by(self) -> str | None:
        """The reason that most of what was tried and is pending waits for."""
        tried = [each for each in self.waiting if each.reason is not None]
        return max(tried, key=lambda each: each.events).reason if tried else None


async def pending_events(database: Any, *, timeout_seconds: float) -> tuple[tuple[Waiting, ...], datetime | None]:
    """What is pending, from its index alone, and Spanner's time; None where nothing is.

    Raises:
        StorageUnavailableError: no answer.
    """
    async with translated(timeout_seconds), database.snapshot() as snapshot:
        rows = [row async for row in await snapshot.execute_sql(_PENDING)]
    return tuple(Waiting(*row[:4]) for row in rows), rows[0][4] if rows else None


async def situation(database: Any, *, window: timedelta, timeout_seconds: float) -> Situation:
    """All of it. Reads both tables whole, at low priority: for one screen, not for a monitor.

    Raises:
        StorageUnavailableError: no answer.
    """
    low = RequestOptions(priority=RequestOptions.Priority.PRIORITY_LOW)
    waiting, _ = await pending_events(database, timeout_seconds=timeout_seconds)
    async with translated(SCAN_SECONDS), database.snapshot(multi_use=True) as snapshot:
        seconds = int(window.total_seconds())
        counted = await snapshot.execute_sql(
            _ACCEPTED, {"window": seconds}, {"window": param_types.INT64}, request_options=low
        )
        ((accepted, now),) = [row async for row in counted]
        settled = await snapshot.execute_sql(
            _SETTLED, {"since": now - window}, {"since": param_types.TIMESTAMP}, request_options=low
        )
        rows = [row async for row in settled]
    lately = {state: sum(row[3] for row in rows if row[0] == state) for state in ForwardState}
    dead = {row[1] or "(none)": row[2] for row in rows if row[0] == ForwardState.DEAD}
    errors = {row[1]: row[4] for row in rows if row[0] == ForwardState.DEAD and row[1] and row[4]}
    errors |= {each.reason: each.last_attempt_at for each in waiting if each.reason and each.last_attempt_at}
    return Situation(
        at=now,
        window=window,
        accepted=accepted,
        delivered=lately[ForwardState.DELIVERED],
        dead=lately[ForwardState.DEAD],
        waiting=waiting,
        dead_by_reason=dict(sorted(dead.items(), key=lambda item: -item[1])),
        last_errors=dict(sorted(errors.items(), key=lambda item: item[1], reverse=True)),
    )

"""Accounting: what was accepted for forwarding, by hour, and what became of it.

Accepted is counted in the event log, the rest in the forward ledger: two tables that one commit fills. They must add
up, and whatever does not is `unaccounted`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from google.cloud.spanner_v1 import RequestOptions, param_types

from shared.forward_ledger import LEDGER_TABLE
from shared.spanner import translated

STALENESS: Final = timedelta(seconds=15)
"""Old enough that Spanner answers from any replica without asking the leader, new enough for accounts by the hour."""

SCAN_SECONDS: Final = 300.0
"""The query reads the log's whole key space, which is spread by UUID on purpose: an index led by `ingested_at` would be
a hot spot for every write. It runs at low priority, for an operator and not in a loop."""

LEDGER_RETENTION: Final = timedelta(days=90)
"""As in deploy/spanner/: settled ledger rows older than this are gone, and their events would look unaccounted."""

_PER_HOUR: Final = f"""
SELECT TIMESTAMP_TRUNC(e.ingested_at, HOUR) AS hour, COUNT(*), COUNTIF(f.state = 'DELIVERED'),
       COUNTIF(f.state = 'PENDING'), COUNTIF(f.state = 'DEAD'), IFNULL(SUM(f.possible_duplicates), 0)
FROM NestEventLog AS e LEFT JOIN {LEDGER_TABLE} AS f ON f.event_id = e.event_id
WHERE e.forward_to_statsig AND e.ingested_at >= @since
GROUP BY hour ORDER BY hour"""  # noqa: S608 - a constant table name


@dataclass(frozen=True, slots=True)
class HourlyAccount:
    """The events accepted for forwarding within one hour, and where they are now."""

    hour: datetime
    """Its beginning, UTC."""

    accepted: int
    delivered: int
    pending: int
    dead: int

    possible_duplicates: int
    """Attempts whose outcome nobody could know."""

    @property
    def unaccounted(self) -> int:
        """Anything but 0 is an error of ours."""
        return self.accepted - self.delivered - self.pending - self.dead


class Accounting(Protocol):
    async def per_hour(self, *, since: datetime) -> Sequence[HourlyAccount]:
        """The accounts of every hour with events since then, oldest first; the first hour may be cut by `since`.

        `since` is aware and within LEDGER_RETENTION. Reads the whole log: seconds to minutes.

        Raises:
            StorageUnavailableError: no answer within SCAN_SECONDS.
        """
        ...


class SpannerAccounting:
    """Accounting on NestEventLog and NestEventForward."""

    def __init__(self, database: Any, *, staleness: timedelta = STALENESS) -> None:
        self._database = database
        self._staleness = staleness

    async def per_hour(self, *, since: datetime) -> Sequence[HourlyAccount]:
        bound = {"exact_staleness": self._staleness} if self._staleness else {}
        async with translated(SCAN_SECONDS), self._database.snapshot(**bound) as snapshot:
            rows = await snapshot.execute_sql(
                _PER_HOUR,
                {"since": since},
                {"since": param_types.TIMESTAMP},
                request_options=RequestOptions(priority=RequestOptions.Priority.PRIORITY_LOW),
            )
            return [HourlyAccount(*row) async for row in rows]

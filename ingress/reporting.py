"""What an ingress counts between two of its reports. What is accepted is counted once a commit, not once a call."""

from collections.abc import Iterable, Sequence
from typing import Final

from connectrpc.code import Code

from shared.events.event import EventLogRow
from shared.process.process_states import Report
from shared.spanner.event_log import EventLogRepository, Written

_OURS: Final = frozenset({Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.DATA_LOSS})
"""Codes that are no fault of the caller's. A limit (`resource_exhausted`) is one that the caller can keep to."""


class Tally:
    """One process's; for the event loop's thread."""

    def __init__(self) -> None:
        self.accepted = 0
        self._refused = 0
        self._failed = 0

    def answered(self, codes: Iterable[Code]) -> None:
        """Events, or calls that failed as a whole, were answered with these; one that hung up counts for nothing."""
        for code in codes:
            if code in _OURS:
                self._failed += 1
            elif code is not Code.CANCELED:
                self._refused += 1

    def taken(self) -> Report:
        """What was counted since it was last taken."""
        report = Report(accepted=self.accepted, refused=self._refused, failed=self._failed)
        self.accepted = self._refused = self._failed = 0
        return report


class CountingRepository:
    """An EventLogRepository that hands on to another, and counts what is written."""

    def __init__(self, repository: EventLogRepository, tally: Tally) -> None:
        self._repository = repository
        self._tally = tally

    async def append(self, rows: Sequence[EventLogRow]) -> None:
        await self._repository.append(rows)
        self._tally.accepted += len(rows)

    async def written(self, event_ids: Sequence[str]) -> dict[str, Written]:
        return await self._repository.written(event_ids)

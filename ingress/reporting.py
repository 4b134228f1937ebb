"""Counts of accepted, refused and failed events between two reports of an ingress (`shared/process/reporting.py`)."""

from collections.abc import Iterable, Sequence
from typing import Final

from connectrpc.code import Code

from shared.events.event import EventLogRow
from shared.events.event_log import EventLogRepository, Written
from shared.process.process_states import Report

_FAILURES: Final = frozenset({Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.DATA_LOSS})
"""Codes that count as failures of the service. All others count as refusals, `resource_exhausted` too: a caller can
keep within a limit."""


def is_refusal(code: Code) -> bool:
    """Whether the code says that the caller must change something. A cancelled call is none."""
    return code not in _FAILURES and code is not Code.CANCELED


class Tally:
    """The counters of one process. Not thread-safe: only the event loop's thread may use it."""

    def __init__(self) -> None:
        self.accepted = 0
        self._refused = 0
        self._failed = 0

    def answered(self, codes: Iterable[Code]) -> None:
        """Count error codes, one for each refused event of a LogEvents or for a call that failed as a whole.

        A cancelled call is not counted.
        """
        for code in codes:
            if code in _FAILURES:
                self._failed += 1
            elif is_refusal(code):
                self._refused += 1

    def taken(self) -> Report:
        """The counts since the last call, which are reset."""
        report = Report(accepted=self.accepted, refused=self._refused, failed=self._failed)
        self.accepted = self._refused = self._failed = 0
        return report


class CountingRepository:
    """An EventLogRepository around another one: counts the rows of each successful append."""

    def __init__(self, repository: EventLogRepository, tally: Tally) -> None:
        self._repository = repository
        self._tally = tally

    async def append(self, rows: Sequence[EventLogRow]) -> None:
        await self._repository.append(rows)
        self._tally.accepted += len(rows)

    async def written(self, event_ids: Sequence[str]) -> dict[str, Written]:
        return await self._repository.written(event_ids)

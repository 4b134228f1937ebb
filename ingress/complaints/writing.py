"""Writes the counts of complaints, together with the process's reports."""

from ingress.complaints.hourly import HourlyComplaints
from shared.events.complaints import ComplaintTable


class ComplaintWriter:
    """Writes what has changed. What fails is written again with the next report, so nothing is lost by it."""

    def __init__(self, complaints: HourlyComplaints, table: ComplaintTable) -> None:
        self._complaints = complaints
        self._table = table
        self._has_failed = False

    async def write(self, process_id: str) -> None:
        """Write all counts that the table does not have.

        Raises:
            StorageUnavailableError: not known whether they were written.
        """
        for counts in self._complaints.unwritten():
            has_failed, self._has_failed = self._has_failed, True
            await self._table.write(process_id, counts)
            self._has_failed = False
            # After a failure the same is written twice: a commit without an answer may have come after this one.
            if not has_failed:
                self._complaints.wrote(counts)

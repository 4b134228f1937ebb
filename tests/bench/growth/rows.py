"""Fills the tables, as far as the machine's memory allows."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shared.events.event import EventLogRow
from tests.bench.backlog import commit, new_rows
from tests.bench.display import Display
from tests.bench.proc import LEAST_AVAILABLE, available_share

LOOK_EVERY: Final = 1000
"""Rows between two looks at the memory, and between two lines of progress."""


@dataclass(slots=True)
class Tables:
    """All rows are pending, as after a long outage: the pending index is then as long as the tables."""

    environ: Mapping[str, str]
    rows: int = 0
    """Rows written here; calls and drains add theirs."""

    stopped: str | None = None
    """Why filling stopped; None if it did not."""

    async def fill(self, until: int, display: Display) -> bool:
        """Add rows up to `until`; False where the memory's bound was reached before."""
        began, before = time.monotonic(), self.rows
        await commit(self.environ, self._counted(until, display))
        took = time.monotonic() - began
        display.note(f"{self.rows:,} rows, {self.rows - before:,} of them written in {took:.0f} s")
        return self.stopped is None

    def _counted(self, until: int, display: Display) -> Iterator[EventLogRow]:
        for row in new_rows(until - self.rows):
            if self.rows % LOOK_EVERY == 0:
                display.begins(f"{self.rows:,} of {until:,} rows")
                if available_share() < LEAST_AVAILABLE:
                    left = f"less than {LEAST_AVAILABLE:.0%} of the machine's memory was left"
                    self.stopped = f"stopped at {self.rows:,} rows: {left}"
                    return
            self.rows += 1
            yield row

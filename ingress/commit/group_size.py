"""How many rows a commit may have while callers share it, learnt from how long commits take.

A lone row waits for the commit in flight and then for its own. Spanner takes a commit of 64 rows in about the time of a
commit of one; the emulator, or a Spanner that has no room left, takes many times as long. So the size follows the time:
it is as large as leaves a commit not much slower than a small one.
"""

from typing import Final

FEWEST_ROWS: Final = 8
"""However slow: fewer are hardly quicker, and each row then pays for a large part of a commit."""

TOO_SLOW: Final = 2.0
"""Times the quickest commit of late."""

FORGETTING: Final = 1.01
"""By what the quickest time is raised with each commit, so that what was once quick is not asked for for ever: in
seventy commits it is forgotten."""

STEP_ROWS: Final = 2


class GroupSize:
    """For one repository. Pure."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._quickest = float("inf")
        self.rows = most_rows

    @property
    def is_reduced(self) -> bool:
        """Rows cost time: commits that are in flight together, or follow on each other, hold each other up."""
        return self.rows < self._most_rows

    def committed(self, rows: int, seconds: float) -> None:
        """A commit of so many rows took so long."""
        self._quickest = min(seconds, self._quickest * FORGETTING)
        if seconds > TOO_SLOW * self._quickest:
            self.rows = min(self.rows, max(rows // 2, FEWEST_ROWS))
        elif rows >= self.rows:
            self.rows = min(self.rows + STEP_ROWS, self._most_rows)

"""The adaptive size of a commit that callers share: how many rows it may have, by how long commits take.

A lone row waits for the commit in flight and then for its own. Spanner takes about as long for 64 rows as for one; the
emulator, or an overloaded Spanner, takes many times as long. So the size shrinks when commits become slow, and grows
again while they are about as quick as a small one.
"""

from typing import Final

FEWEST_ROWS: Final = 8
"""The smallest size. Fewer rows are hardly quicker, and each would pay for a large part of a commit."""

TOO_SLOW: Final = 2.0
"""A commit is slow if it takes this many times as long as the quickest recent one."""

DOUBLING_SECONDS: Final = 3.0
"""The quickest time doubles with so much time of commits, so that one quick commit does not set the standard forever.
By time and not by number: when Spanner becomes slow, each commit takes a hundred times as long. Half a second is too
short: beside a flood a polite call took 46 to 52 ms (p50), and 29 with the earlier rule of 1 % a commit."""

STEP_ROWS: Final = 2
"""Rows by which a quick and full commit raises the size."""


class GroupSize:
    """The size for one repository. Takes its times from its caller, reads no clock."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._quickest = float("inf")
        self.rows = most_rows

    @property
    def is_reduced(self) -> bool:
        """Whether rows were seen to cost time, so that commits beside or behind each other delay one another."""
        return self.rows < self._most_rows

    def committed(self, rows: int, seconds: float) -> None:
        """Learn from a commit that succeeded."""
        self._quickest = min(seconds, self._quickest * 2 ** (seconds / DOUBLING_SECONDS))
        if seconds > TOO_SLOW * self._quickest:
            self.rows = min(self.rows, max(rows // 2, FEWEST_ROWS))
        elif rows >= self.rows:
            self.rows = min(self.rows + STEP_ROWS, self._most_rows)

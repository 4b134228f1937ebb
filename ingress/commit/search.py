"""The search for the rows at fault, where Spanner refuses a commit that several share.

What Spanner says does not tell whose fault it is: FAILED_PRECONDITION is a value too long for its column, and as well a
database that takes no writes. So guilt is relative: a row is guilty where it is refused alone while another commit of
the same search succeeds. Where none does, it is the database, and nobody is blamed.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Row = TypeVar("Row")

SPARE_COMMITS: Final = 4
"""Beyond what one bad row takes: enough to find a second one near it, too few to be a load on a database in trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried(Generic[Row]):
    """What became of one commit."""

    written: bool = False
    """Whether it wrote anything."""

    refused: Sequence[Row] = ()
    """The rows that Spanner refused together. None of them is written."""

    by_content: bool = False
    """Whether the refusal can only mean what the rows say, and not the state of the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult(Generic[Row]):
    """What became of the rows that were refused and were not written in the search. None of them is written."""

    guilty: Sequence[Row]
    undecided: Sequence[Row]
    commits: int
    """How many the search made."""


def budget_of(rows: int) -> int:
    """Commits of one search: two a level of halving, which finds one bad row, and SPARE_COMMITS."""
    return 2 * (rows - 1).bit_length() + SPARE_COMMITS


async def search(
    refused: Sequence[Row], try_commit: Callable[[Sequence[Row]], Awaitable[Tried[Row]]]
) -> SearchResult[Row]:
    """Commit the rows of a refused commit in ever smaller parts, the largest first, until the budget is spent.

    What `try_commit` raises ends the search and comes out of it.
    """
    parts = deque(_halves(refused))
    alone: list[Row] = []
    written = False
    commits = 0
    while parts and commits < budget_of(len(refused)):
        commits += 1
        tried = await try_commit(parts.popleft())
        written = written or tried.written
        if len(tried.refused) > 1:
            parts.extend(_halves(tried.refused))
        else:
            alone += tried.refused
    left = [row for part in parts for row in part]
    if not written:
        return SearchResult(guilty=(), undecided=[*alone, *left], commits=commits)
    return SearchResult(guilty=alone, undecided=left, commits=commits)


def _halves(rows: Sequence[Row]) -> list[Sequence[Row]]:
    middle = len(rows) // 2
    return [rows[:middle], rows[middle:]]

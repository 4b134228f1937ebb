"""The search for the rows at fault when Spanner refuses a commit that several calls share.

Spanner's answer does not say which row is at fault, nor whether one is: FAILED_PRECONDITION means a value too long for
its column, but also a database that takes no writes. So guilt is relative: a row is guilty if it is refused alone while
another commit of the same search succeeds. If none succeeds, the database is at fault, and no row is blamed.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Row = TypeVar("Row")

SPARE_COMMITS: Final = 4
"""Commits beyond those that find one bad row: enough to find a second one near it, too few to load a database in
trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried(Generic[Row]):
    """The result of one attempt to commit."""

    written: bool = False
    """Whether rows of it are written, by this attempt or by one whose answer was lost."""

    refused: Sequence[Row] = ()
    """The rows that Spanner refused together. None of them is written."""

    by_content: bool = False
    """Whether only the rows' content can be the cause of the refusal, not the state of the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult(Generic[Row]):
    """The rows that are still not written after the search."""

    guilty: Sequence[Row]
    """Refused alone while another commit succeeded."""

    undecided: Sequence[Row]
    """Not tried alone when the budget was spent, or refused while no commit succeeded."""

    commits: int
    """Commits that the search made."""


def budget_of(rows: int) -> int:
    """The most commits of one search: two for each level of halving, which finds one bad row, and SPARE_COMMITS."""
    return 2 * (rows - 1).bit_length() + SPARE_COMMITS


async def search(
    refused: Sequence[Row], try_commit: Callable[[Sequence[Row]], Awaitable[Tried[Row]]]
) -> SearchResult[Row]:
    """Commit the rows of a refused commit in ever smaller parts, the largest first, until the budget is spent.

    `try_commit` resolves the rows that it writes. An exception of it ends the search and is passed on.
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

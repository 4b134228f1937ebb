"""The search for bad rows, where Spanner refuses a commit that several rows share."""

from collections.abc import Sequence
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.commit.search import SPARE_COMMITS, SearchResult, Tried, budget_of, search


class Spanner:
    """Refuses each commit that holds a bad row, and everything where it is down."""

    def __init__(self, bad: set[int], *, down: bool = False) -> None:
        self._bad = bad
        self._down = down
        self.written: list[int] = []
        self.commits: list[int] = []

    async def commit(self, rows: Sequence[int]) -> Tried[int]:
        self.commits.append(len(rows))
        if self._down or self._bad & set(rows):
            return Tried(refused=rows)
        self.written += rows
        return Tried(written=True)

    async def search(self, rows: int) -> SearchResult[int]:
        return await search(range(rows), self.commit)


@given(rows=st.integers(2, 300), data=st.data())
async def test_every_row_has_one_end_within_the_budget_and_only_bad_ones_are_guilty(
    rows: int, data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.integers(0, rows - 1), min_size=1))
    spanner = Spanner(bad)

    verdict = await spanner.search(rows)

    assert sorted([*spanner.written, *verdict.guilty, *verdict.undecided]) == list(range(rows))
    assert set(verdict.guilty) <= bad
    assert verdict.commits == len(spanner.commits) <= budget_of(rows)
    assert spanner.written or not verdict.guilty


@given(rows=st.integers(2, 300), data=st.data())
async def test_one_bad_row_is_found_and_every_other_one_written(rows: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, rows - 1))
    spanner = Spanner({bad})

    verdict = await spanner.search(rows)

    assert list(verdict.guilty) == [bad]
    assert list(verdict.undecided) == []
    assert len(spanner.commits) <= 2 * ceil(log2(rows))


@pytest.mark.parametrize("rows", [2, 3, 16, 256])
async def test_a_database_that_refuses_everything_has_no_guilty_rows(rows: int) -> None:
    spanner = Spanner(set(), down=True)

    verdict = await spanner.search(rows)

    assert list(verdict.guilty) == []
    assert sorted(verdict.undecided) == list(range(rows))
    assert len(spanner.commits) <= budget_of(rows)


async def test_most_rows_are_written_before_the_budget_ends_where_several_are_bad() -> None:
    spanner = Spanner({3, 90, 200})

    verdict = await spanner.search(256)

    assert len(spanner.written) >= 200
    assert {3, 90, 200} <= {*verdict.guilty, *verdict.undecided}


def test_the_budget_is_logarithmic() -> None:
    assert [budget_of(rows) - SPARE_COMMITS for rows in (2, 3, 4, 5, 256, 257, 512)] == [2, 4, 4, 6, 16, 18, 18]


async def test_what_a_commit_raises_ends_the_search() -> None:
    async def fail(rows: Sequence[int]) -> Tried[int]:
        raise ConnectionError(len(rows))

    with pytest.raises(ConnectionError):
        await search(range(4), fail)


async def test_a_row_that_is_refused_by_itself_in_a_larger_part_is_alone() -> None:
    async def commit(rows: Sequence[int]) -> Tried[int]:
        # Row 0 exists already and is answered so, which leaves row 1 by itself.
        return Tried(refused=[1]) if 0 in rows else Tried(written=True)

    verdict = await search(range(4), commit)

    assert (list(verdict.guilty), list(verdict.undecided), verdict.commits) == ([1], [], 2)

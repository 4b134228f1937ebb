"""Rows are divided into transactions of a bounded size."""

from collections.abc import Sequence

import anyio
import pytest

from shared.errors import StorageUnavailableError
from shared.spanner.parts import in_parts


async def test_every_item_is_in_one_part_and_the_answers_are_in_their_order() -> None:
    async def call(part: Sequence[int]) -> list[int]:
        await anyio.sleep(0.001 * (10 - part[0]))  # the last one answers first
        return list(part)

    assert await in_parts(range(10), call, rows=4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert await in_parts(range(4), call, rows=4) == [[0, 1, 2, 3]]


async def test_the_parts_are_under_way_at_the_same_time() -> None:
    begun: list[int] = []
    all_begun = anyio.Event()

    async def call(part: Sequence[int]) -> None:
        begun.extend(part)
        if len(begun) == 3:
            all_begun.set()
        await all_begun.wait()

    with anyio.fail_after(5):
        await in_parts(range(3), call, rows=1)


async def test_one_that_fails_ends_the_others_and_is_raised_as_it_is() -> None:
    ended: list[int] = []

    async def call(part: Sequence[int]) -> None:
        if part[0] == 1:
            raise StorageUnavailableError("down")
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(part[0])

    with anyio.fail_after(5), pytest.raises(StorageUnavailableError):
        await in_parts(range(3), call, rows=1)

    assert sorted(ended) == [0, 2]


async def test_a_single_part_fails_as_it_is() -> None:
    async def call(_: Sequence[int]) -> None:
        raise StorageUnavailableError("down")

    with pytest.raises(StorageUnavailableError):
        await in_parts([1], call, rows=1)

"""Reads of the indexes by time, whose first column is a shard: a bounded page of each shard."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from google.cloud.spanner_v1 import KeyRange, KeySet

from shared.spanner.connection import spanner_call
from shared.spanner.parts import in_parts
from shared.spanner.reading import AT_INTERVALS

BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Earlier than any row: the indexes are by the times of commits."""

PARTS_AT_ONCE: Final = 8
"""Concurrent reads, each of a part of the shards. More would only wait for each other in the client."""

_LAST: Final = 2**63 - 1


async def shards_beyond(database: Any, table: str, index: str, column: str, first: int) -> list[int]:
    """The shards from `first` on that have entries; `column` holds the shard. Costs one read for each, and one more."""
    found: list[int] = []
    while (shard := await shard_from(database, table, index, column, found[-1] + 1 if found else first)) is not None:
        found.append(shard)
    return found


async def shard_from(database: Any, table: str, index: str, column: str, first: int) -> int | None:
    """The first shard from `first` on that has entries; None if there is none."""
    keys = KeySet(ranges=[KeyRange(start_closed=[first], end_closed=[_LAST])])
    # A single-use snapshot: one for several reads is a transaction, and on the emulator it ends the running one.
    async with database.snapshot() as snapshot:
        rows = [row async for row in await snapshot.read(table, (column,), keys, index, 1, retry=AT_INTERVALS)]
    return rows[0][0] if rows else None


async def page_of_each(
    database: Any,
    table: str,
    index: str,
    columns: Sequence[str],
    *,
    shards: Sequence[int],
    begin: datetime = BEGINNING,
    limit: int,
    seconds: float,
    at: datetime | None = None,
) -> list[list[Sequence[Any]]]:
    """Read up to `limit` entries of each shard from `begin` on: one list per shard, in the order of the index.

    With `at` the entries are those of that time. Otherwise they are the present ones, each shard's at its own moment.

    Raises:
        StorageUnavailableError: a part of the shards was not read within `seconds`.
    """

    async def read(part: Sequence[int]) -> list[list[Sequence[Any]]]:
        pages: list[list[Sequence[Any]]] = []
        async with spanner_call(seconds):
            for shard in part:
                keys = KeySet(ranges=[KeyRange(start_closed=[shard, begin], end_closed=[shard])])
                async with database.snapshot(**({} if at is None else {"read_timestamp": at})) as snapshot:
                    rows = await snapshot.read(table, columns, keys, index, limit, retry=AT_INTERVALS)
                    pages.append([row async for row in rows])
        return pages

    parts = await in_parts(shards, read, rows=math.ceil(len(shards) / PARTS_AT_ONCE))
    return [page for part in parts for page in part]

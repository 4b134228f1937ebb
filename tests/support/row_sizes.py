"""A row's size in Spanner: its bytes, and its entries in the indexes of deploy/spanner."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import NoneType
from typing import Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from deploy import schema
from shared.events.forward_ledger import ForwardState

TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")

SHARD: Final = 7


def stored_bytes(values: Iterable[object]) -> int:
    """Counted as on cloud.google.com/spanner/docs/reference/standard-sql/data-types."""
    return sum(8 + _value_bytes(value) for value in values)


def _value_bytes(value: object) -> int:
    if isinstance(value, list):
        return stored_bytes(value)
    if isinstance(value, datetime) or value == COMMIT_TIMESTAMP or TIME.fullmatch(str(value)):
        return 12
    if isinstance(value, str):
        return len(value.encode())
    return {NoneType: 0, bool: 1, int: 8}[type(value)]


@dataclass(frozen=True)
class Index:
    key: frozenset[str]
    stored: frozenset[str]


def indexes(table: str) -> list[Index]:
    """The table's indexes. A row has an entry where no column of the key is null: the ledger's are null-filtered."""
    pattern = re.compile(rf"CREATE (?:NULL_FILTERED )?INDEX \w+ ON {table} \(([\w, ]+)\)(?:\s+STORING \(([\w, ]+)\))?")
    return [
        Index(*(frozenset(re.findall(r"\w+", columns or "")) for columns in found.groups()))
        for statement in schema.statements()
        if (found := pattern.fullmatch(statement))
    ]


def entries(table: str, columns: Sequence[str], values: Sequence[object]) -> int:
    """How many index entries a row has whose other columns are null."""
    given = dict(zip(columns, values, strict=True))
    if given.get("state") == ForwardState.DEAD:
        given["dead_shard"] = SHARD  # Spanner computes this column
    return sum(all(given.get(column) is not None for column in index.key) for index in indexes(table))

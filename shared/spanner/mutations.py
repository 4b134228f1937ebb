"""Writes as raw protobuf messages, for the tables that every event is written to.

The client's own `insert` and `update` make a proto-plus message of each row and copy it three times: 35 µs for the two
rows of an event, 4 µs here, which was a tenth of what an event cost. Its batches and transactions take such messages
only past their public methods; the contract suite holds that they do (google-cloud-spanner 3.71).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.spanner_v1.types.mutation import Mutation

_RawMutation: Final = type(Mutation.pb(Mutation()))


def insert(buffer: Any, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Have a batch or transaction of the client insert rows when it commits; fails where one exists."""
    mutation = _RawMutation()
    _fill(mutation.insert, table, columns, rows)
    _add(buffer, mutation)


def update(buffer: Any, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Have a batch or transaction of the client update rows when it commits; fails where one does not exist."""
    mutation = _RawMutation()
    _fill(mutation.update, table, columns, rows)
    _add(buffer, mutation)


def _add(buffer: Any, mutation: Any) -> None:
    buffer._mutations.append(Mutation.wrap(mutation))  # noqa: SLF001 - see above


def _fill(write: Any, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    write.table = table
    write.columns.extend(columns)
    add_row = write.values.add
    for row in rows:
        _append(add_row(), row)


def _append(values: Any, row: Iterable[Any]) -> None:
    """In the form that Spanner's wire has for each type (google.spanner.v1.TypeCode)."""
    add = values.values.add
    for value in row:
        if isinstance(value, str):
            add().string_value = value
        elif value is None:
            add().null_value = 0  # NullValue.NULL_VALUE, the only one
        elif isinstance(value, bool):
            add().bool_value = value
        elif isinstance(value, int):
            add().string_value = str(value)
        elif isinstance(value, datetime):
            add().string_value = _timestamp(value)
        elif isinstance(value, list | tuple):
            array = add().list_value
            array.SetInParent()  # an empty one too is an array, and not nothing
            _append(array, value)
        else:
            raise TypeError(f"no column here holds a {type(value).__name__}")


def _timestamp(moment: datetime) -> str:
    if isinstance(moment, DatetimeWithNanoseconds):
        text: str = moment.rfc3339()
        return text
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""BigQuery's part of the export on DuckDB: its schema as a table, newline JSON loaded into it, SQL translated.

PyPI has no BigQuery emulator. This shows that the SQL parses as BigQuery's and returns what it should, as far as
sqlglot's translation and DuckDB agree with BigQuery. It shows no quotas, no partitioning, and not how BigQuery itself
reads a value.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import sqlglot

from deploy.local.stack import REPOSITORY

FOLDER: Final = REPOSITORY / "deploy" / "bigquery"

_TYPES: Final = {
    "STRING": "VARCHAR",
    "TIMESTAMP": "TIMESTAMPTZ",
    "JSON": "JSON",
    "BOOLEAN": "BOOLEAN",
    "INT64": "BIGINT",
}

TABLE: Final = "nest_event_log"


def schema() -> list[dict[str, str]]:
    fields: list[dict[str, str]] = json.loads((FOLDER / f"{TABLE}.schema.json").read_text())
    return fields


def translated(sql: str) -> list[str]:
    """BigQuery's statements as DuckDB's. Parsed strictly: unknown syntax is an error."""
    return sqlglot.transpile(
        sql,
        read="bigquery",
        write="duckdb",
        error_level=sqlglot.ErrorLevel.RAISE,
        unsupported_level=sqlglot.ErrorLevel.RAISE,
    )


def newline_json(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Rows as a load job takes them: a JSON column as a JSON value, not as text."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


class Warehouse:
    """One dataset. Sessions in UTC, as BigQuery's are."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET TimeZone = 'UTC'")
        columns = [
            f"{field['name']} {_TYPES[field['type']]}{' NOT NULL' if field['mode'] == 'REQUIRED' else ''}"
            for field in schema()
        ]
        self._connection.execute(f"CREATE TABLE {TABLE} ({', '.join(columns)})")

    def load(self, path: Path) -> None:
        """A load job: every field of the schema and no other, or an error."""
        columns = {field["name"]: _TYPES[field["type"]] for field in schema()}
        known = set(columns)
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # U+2028 ends no row
            assert set(json.loads(line)) <= known
        names = ", ".join(columns)
        source = f"read_json(?, format = 'newline_delimited', columns = {columns})"
        self._connection.execute(f"INSERT INTO {TABLE} ({names}) SELECT {names} FROM {source}", [str(path)])  # noqa: S608 - our own names

    def execute(self, sql: str) -> None:
        for statement in translated(sql):
            self._connection.execute(statement)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        (statement,) = translated(sql)
        result = self._connection.execute(statement, list(parameters))
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def close(self) -> None:
        self._connection.close()

"""What a command shows: tables on a terminal, tab-separated lines in a pipe, one JSON document with `--json`."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

BAR: Final = "█"
PLAIN_BAR: Final = "#"


def is_terminal() -> bool:
    return sys.stdout.isatty()


def say(text: str = "") -> None:
    """One line of an answer. What is not printable is replaced: dead letters hold anything."""
    typer.echo(clean(text))


def show_json(document: Any) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, default=_jsonable, indent=2 if is_terminal() else None))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Rows under headings; columns of numbers to the right on a terminal."""
    texts = [[clean(text_of(value)) for value in row] for row in rows]
    if not is_terminal():
        for row in [list(columns), *texts]:
            typer.echo("\t".join(row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


def show_fields(fields: Mapping[str, Any]) -> None:
    """One name and value a line, those without a value left out."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value not in (None, ""):
            gap = " " * (width - len(name) + 2) if is_terminal() else "\t"
            typer.echo(f"{name}{gap}{clean(text_of(value))}")


def bar(value: int, largest: int, width: int = 30) -> str:
    """At least one mark for anything at all."""
    if not value:
        return ""
    mark = BAR if is_terminal() and (sys.stdout.encoding or "").lower().startswith("utf") else PLAIN_BAR
    return mark * max(1, round(width * value / max(largest, 1)))


def text_of(value: Any) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}Z" if isinstance(value, datetime) else str(value)


def clean(text: str) -> str:
    """Without what would move a terminal's cursor or split a line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _jsonable(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)

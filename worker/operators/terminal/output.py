"""Writes answers to stdout: tables on a terminal, tab-separated lines in a pipe, JSON with `--json`.

Every answer of a command goes through here, so that a closed pipe or a full disk is an OutputFailedError.
"""

import errno
import json
import os
import select
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.operators.exit_codes import OutputFailedError

BAR: Final = "█"
PLAIN_BAR: Final = "#"

PLAIN_WIDTH: Final = 120
"""Columns in a file, a pipe or a log."""


def is_terminal() -> bool:
    return sys.stdout.isatty()


def width() -> int:
    """Columns that an answer may take: the terminal's, but at least 40, or PLAIN_WIDTH."""
    return max(40, shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns) if is_terminal() else PLAIN_WIDTH


@contextmanager
def writing() -> Iterator[None]:
    """Wrap a write to stdout.

    Raises:
        OutputFailedError: stdout is closed, or its disk is full.
    """
    try:
        yield
    except OSError as error:
        raise OutputFailedError(f"the answer could not be written: {error.strerror}") from error


def say(text: str = "") -> None:
    """Print one line. Characters that are not printable are replaced: a dead letter may contain any."""
    _write(clean(text))


def show_json(document: Any) -> None:
    """Print a document, indented on a terminal and in one line elsewhere."""
    _write(json.dumps(document, ensure_ascii=False, default=_jsonable, indent=2 if is_terminal() else None))


def show_json_line(document: Any) -> None:
    """Print a document in one line, on a terminal too: one of many, for programs."""
    _write(json.dumps(document, ensure_ascii=False, default=_jsonable))


def show_row(values: Sequence[Any], widths: Sequence[int]) -> None:
    """Print one row of a table without an end: padded to these widths on a terminal, separated by tabs elsewhere."""
    texts = [clean(text_of(value)) for value in values]
    if is_terminal():
        _write("  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip())
    else:
        _write("\t".join(texts))


def check_reader() -> None:
    """Where stdout is a pipe, see whether anybody still reads it. A write would show it too, but may be long in coming.

    Raises:
        OutputFailedError: nobody does.
    """
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are always reported
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        with writing():
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _write(line: str) -> None:
    with writing():
        typer.echo(line)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Print rows under headings; on a terminal the columns `right` are aligned to the right."""
    texts = [[clean(text_of(value)) for value in row] for row in rows]
    if not is_terminal():
        for row in [list(columns), *texts]:
            _write("\t".join(row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    with writing():
        Console(highlight=False).print(table)


def show_fields(fields: Mapping[str, Any]) -> None:
    """Print a name and its value on each line; fields whose value is None or empty are left out."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value not in (None, ""):
            gap = " " * (width - len(name) + 2) if is_terminal() else "\t"
            _write(f"{name}{gap}{clean(text_of(value))}")


def bar(value: int, largest: int, width: int = 30) -> str:
    """A bar in proportion to the largest value: empty for 0, at least one mark for anything else."""
    if not value:
        return ""
    mark = BAR if is_terminal() and (sys.stdout.encoding or "").lower().startswith("utf") else PLAIN_BAR
    return mark * max(1, round(width * value / max(largest, 1)))


def text_of(value: Any) -> str:
    """A value as a cell shows it: times to the second in UTC, None as nothing."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    return "" if value is None else str(value)


def clean(text: str) -> str:
    """The text with each unprintable character replaced: none can move the cursor or break the line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _jsonable(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)

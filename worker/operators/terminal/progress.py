"""Progress of long work on stderr: a bar or spinner on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker.operators.terminal.durations import moment

LINE_INTERVAL_SECONDS: Final = 5.0
"""Between two lines where there is no terminal."""

FIRST_LINE_SECONDS: Final = 1.0
"""Before the first line: shorter work needs none."""


@contextmanager
def time_progress(what: str, begin: datetime, end: datetime) -> Iterator[Callable[[datetime], None]]:
    """Progress through a range of time. Call the yielded function with the time reached so far."""

    def text(at: datetime) -> str:
        return f"{what}: up to {moment(at)}, {(at - begin) / (end - begin):.0%}"

    if sys.stderr.isatty():
        with Console(stderr=True).status(what) as status:
            yield lambda at: status.update(text(at))
        return
    pace = _Pace()

    def reached(at: datetime) -> None:
        if pace.is_due():
            typer.echo(text(at), err=True)

    yield reached


@contextmanager
def count_progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Progress through `total` items, None if unknown. Call the yielded function with the number of items just done."""
    if not sys.stderr.isatty():
        yield _Lines(what, total).advance
        return
    rate = TextColumn("{task.fields[rate]:.0f}/s")
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total, rate=0.0)

        def advance(done: int) -> None:
            progress.advance(task, done)
            completed = progress.tasks[0].completed
            progress.update(task, rate=completed / max(time.monotonic() - began, 0.001))

        yield advance


class _Pace:
    """When the next line is due."""

    def __init__(self) -> None:
        self._next_at = time.monotonic() + FIRST_LINE_SECONDS

    def is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next_at:
            return False
        self._next_at = now + LINE_INTERVAL_SECONDS
        return True


class _Lines:
    """A line now and then with count, rate and time left."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._pace = _Pace()

    def advance(self, done: int) -> None:
        self._done += done
        if not self._pace.is_due():
            return
        rate = self._done / max(time.monotonic() - self._began, 0.001)
        if self._total is None:
            typer.echo(f"{self._what} {self._done} so far, {rate:.0f}/s", err=True)
            return
        left = (self._total - self._done) / rate if rate else 0.0
        typer.echo(f"{self._what} {self._done} of {self._total}, {rate:.0f}/s, {left:.0f} s left", err=True)

"""Progress of long work on stderr: a bar with rate and time left on a terminal, a line now and then elsewhere."""

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

LINE_SECONDS: Final = 5.0
"""Between two lines where there is no terminal."""

FIRST_LINE_SECONDS: Final = 1.0
"""Before the first one: what takes less needs none."""


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """For work of unknown length: told how much there is so far. Silent where there is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(stderr=True).status(what) as status:
        yield lambda done: status.update(f"{what}: {done}")


@contextmanager
def reaching(what: str, begin: datetime, end: datetime) -> Iterator[Callable[[datetime], None]]:
    """For work that goes through a time: told how far it is."""
    lines = _Pace()

    def reached(at: datetime) -> None:
        share = (at - begin) / (end - begin)
        if lines.is_due():
            typer.echo(f"{what}: as far as {moment(at)}, {share:.0%}", err=True)

    if not sys.stderr.isatty():
        yield reached
        return
    with Console(stderr=True).status(what) as status:
        yield lambda at: status.update(f"{what}: as far as {moment(at)}, {(at - begin) / (end - begin):.0%}")


@contextmanager
def advancing(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """For work of known length: told how many more are done. None where the length could not be asked."""
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
        self._next_at = now + LINE_SECONDS
        return True


class _Lines:
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

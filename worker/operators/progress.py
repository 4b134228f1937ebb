"""Progress of long work on stderr: a bar with rate and time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS: Final = 5.0
"""Between two lines where there is no terminal."""


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """For work of unknown length: told how much there is so far. Silent where there is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(stderr=True).status(what) as status:
        yield lambda done: status.update(f"{what}: {done}")


@contextmanager
def advancing(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """For work of known length: told how many more are done."""
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


class _Lines:
    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._began = self._said_at = time.monotonic()

    def advance(self, done: int) -> None:
        self._done += done
        now = time.monotonic()
        if now - self._said_at < LINE_SECONDS:
            return
        self._said_at = now
        rate = self._done / (now - self._began)
        left = (self._total - self._done) / rate if rate else 0.0
        typer.echo(f"{self._what} {self._done} of {self._total}, {rate:.0f}/s, {left:.0f} s left", err=True)

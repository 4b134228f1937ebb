"""The progress of a run of the lab: a live bar on a terminal, plain lines in a pipe."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.faults.verdict import RunVerdict


class Display:
    """Shows runs that begin and end."""

    def __init__(self, console: Console, progress: Progress, runs: int) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("", total=runs)

    def begins(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    def ended(self, verdict: RunVerdict, seconds: float) -> None:
        self._progress.advance(self._task)
        word = "FAILED" if verdict.breaches else "ok"
        self._console.print(
            f"{verdict.row.id:5} seed {verdict.seed}  {word:6}  {verdict.answered}/{verdict.events} answered, "
            f"{verdict.lost} lost, {verdict.duplicated} ({verdict.allowed}) duplicated, {verdict.ambiguous} ambiguous, "
            f"drained in {verdict.drain_seconds:.1f} s  [{seconds:.0f} s]  {verdict.row.title}"
        )
        for line in (*verdict.notes, *verdict.breaches):
            self._console.print(f"      {line}")


@contextmanager
def display(runs: int) -> Iterator[Display]:
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield Display(console, progress, runs)

"""The bench's progress: a bar on a terminal, and a line for each sample there and in a pipe."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.bench.results import Key

_UNITS: Final = {"rate": "/s", "p50_ms": " ms p50", "p99_ms": " ms p99", "cpu_ms": " ms CPU", "mib": " MiB"}


class Display:
    """Shows steps that begin and end."""

    def __init__(self, console: Console, progress: Progress, steps: int) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("", total=steps)

    def begins(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    def measured(self, key: Key, turn: int, figures: Mapping[str, float]) -> None:
        said = ", ".join(f"{value:,.4g}{_UNITS[name]}" for name, value in figures.items() if name in _UNITS)
        self._line(key, turn, said)

    def failed(self, key: Key, turn: int, failure: str) -> None:
        self._line(key, turn, f"FAILED: {failure}")

    def done(self, steps: int = 1) -> None:
        self._progress.advance(self._task, steps)

    def note(self, text: str) -> None:
        self._console.print(text)

    def _line(self, key: Key, turn: int, said: str) -> None:
        self._console.print(f"{key.measure:16}{key.case:26}{key.way:20}round {turn + 1}  {said}")


@contextmanager
def display(steps: int) -> Iterator[Display]:
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield Display(console, progress, steps)

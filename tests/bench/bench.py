"""A run of the bench: its measures and their context. A measure that fails leaves the others alone."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.local.emulators import Emulators
from tests.bench.display import Display
from tests.bench.options import Options
from tests.bench.results import Key, Results, Sample
from tests.bench.world import World, open_world

Figures = Mapping[str, float]

_FAILURE_CHARACTERS: Final = 600
"""Characters of a failure in the report: enough for the end of a log."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The context of every measure."""

    options: Options
    run_dir: Path
    emulators: Emulators
    results: Results
    display: Display
    _worlds: list[str] = field(default_factory=list)

    def world(self, name: str, *, keeps_messages: bool = False) -> AbstractAsyncContextManager[World]:
        """See `open_world`."""
        self._worlds.append(name)
        run_dir = self.run_dir / f"{len(self._worlds):03}-{name}"
        return open_world(self.emulators, run_dir, keeps_messages=keeps_messages)

    async def attempt(self, key: Key, turn: int, measuring: Callable[[], Awaitable[Figures]]) -> None:
        """Take a sample. A failure is noted, and its key is not tried again."""
        if key not in self.results.failures:
            self.display.begins(f"{key.measure} · {key.case} · {key.way}")
            try:
                figures = await measuring()
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are still measured
                self.fail(key, turn, error)
            else:
                self.results.samples.append(Sample(key, turn, figures))
                self.display.measured(key, turn, figures)
        self.display.done()

    def fail(self, key: Key, turn: int, error: Exception) -> None:
        self.results.failures[key] = failure = words(error)
        self.display.failed(key, turn, failure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A measure of the bench, with all its cases and ways."""

    name: str
    unit: str
    """What it counts: calls or events."""

    steps: Callable[[Options], int]
    """The number of samples it takes."""

    run: Callable[[Bench], Awaitable[None]]


async def run_measure(bench: Bench, measure: Measure) -> None:
    """Run a measure. If it fails, that is noted, and the next one may be run."""
    try:
        await measure.run(bench)
    except Exception as error:  # noqa: BLE001 - as in `attempt`
        bench.fail(Key(measure.name, "", ""), 0, error)


def words(error: Exception) -> str:
    """The error in one line; of an exception group the first one."""
    if isinstance(error, ExceptionGroup):
        return words(error.exceptions[0])
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _FAILURE_CHARACTERS else f"{text[:_FAILURE_CHARACTERS]} ..."

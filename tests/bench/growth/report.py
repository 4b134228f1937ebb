"""The report of bench-growth: each figure by number of rows, and its factor to that with the fewest rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.bench.growth.stages import CALLS, CLAIM, DRAIN, PAGE, SETTLE, key
from tests.bench.machine import Machine
from tests.bench.markdown import NOTHING, TIMES, number, table
from tests.bench.options import Options
from tests.bench.outputs import DRAINED_GROWTH
from tests.bench.report import cell, failed
from tests.bench.results import CPU_MS, P50_MS, RATE, Results, ratio

FIGURES: Final = {
    (CALLS, RATE): "calls/s, 32 connections",
    (CALLS, CPU_MS): "ingress CPU a call, ms",
    (DRAIN, RATE): "worker events/s, from a backlog",
    (DRAIN, CPU_MS): "worker CPU an event, ms",
    (CLAIM, P50_MS): "claim of 500, ms",
    (SETTLE, P50_MS): "settle of 500, ms",
    (PAGE, P50_MS): "reconciler page of 200, ms",
}

HOW: Final = (
    "A cell is the median of the rounds, with the least and the most of them; the last columns say how many times "
    "worse that is than with the fewest rows. All rows are pending."
)

FEWEST: Final = 10_000
MOST: Final = 1_000_000
"""The number of rows that the target compares with the fewest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthRun:
    """The data of a report."""

    options: Options
    machine: Machine
    results: Results
    stages: Sequence[int]
    """The numbers of rows that were asked for; the last ones may be missing."""

    stopped: str | None
    seconds: float

    def worse(self, measure: str, figure: str, rows: int) -> float | None:
        """By what factor each figure is worse than with the fewest rows. None where one was not measured."""
        first = self.results.median(key(measure, self.stages[0]), figure)
        this = self.results.median(key(measure, rows), figure)
        return ratio(first, this) if figure == RATE else ratio(this, first)

    @property
    def drained(self) -> float | None:
        """The factor for the bench's table of targets; None unless the run went from FEWEST to MOST."""
        return self.worse(DRAIN, RATE, MOST) if self.stages[0] == FEWEST and MOST in self.stages else None

    def curves(self) -> Mapping[str, list[tuple[int, float]]]:
        """For the chart: for each figure the numbers of rows and its factors."""
        return {
            title: [(rows, worse) for rows in self.stages if (worse := self.worse(measure, figure, rows)) is not None]
            for (measure, figure), title in FIGURES.items()
        }


def report(run: GrowthRun) -> str:
    heads = ["figure", *(f"{rows:,} rows" for rows in run.stages), *(f"{TIMES} at {rows:,}" for rows in run.stages[1:])]
    options = run.options
    how = f"Rounds: {options.rounds}; loads of {options.seconds} s; drains of {options.backlog:,} events"
    parts = [
        [f"{how}; {run.seconds / 60:.1f} minutes in all. {HOW}"],
        [f"Machine: {run.machine}"],
        list(table(heads, _rows(run))),
        [run.stopped.capitalize()] if run.stopped else [],
        failed(run.results),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def as_json(run: GrowthRun) -> dict[str, Any]:
    return {
        "seconds": round(run.seconds, 1),
        "machine": run.machine.as_json(),
        "options": {
            "rounds": run.options.rounds,
            "seconds": run.options.seconds,
            "backlog": run.options.backlog,
            "rows": list(run.stages),
        },
        "stopped": run.stopped,
        DRAINED_GROWTH: run.drained,
        **run.results.as_json(),
    }


def _rows(run: GrowthRun) -> Iterator[Sequence[str]]:
    for (measure, figure), title in FIGURES.items():
        cells = [cell(run.results.spread(key(measure, rows), figure)) for rows in run.stages]
        worse = [run.worse(measure, figure, rows) for rows in run.stages[1:]]
        yield [title, *cells, *(NOTHING if times is None else number(times) for times in worse)]

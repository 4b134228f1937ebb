"""The report in Markdown: every figure with its spread and reference, the targets, what failed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.machine import Machine
from tests.bench.markdown import NOTHING, TIMES, number, table
from tests.bench.measures.chosen import MEASURES
from tests.bench.options import Options
from tests.bench.references import reference
from tests.bench.results import CPU_MS, FIGURES, MIB, P50_MS, P99_MS, RATE, Key, Results, Spread, ratio
from tests.bench.targets import GROWTH, TARGETS, Target

HEADS: Final = {RATE: "a second", P50_MS: "p50 ms", P99_MS: "p99 ms", CPU_MS: "CPU ms", MIB: "MiB"}

HOW: Final = (
    "A cell is the median of the rounds, with the least and the most of them; the column beside it says how many times "
    "that is of what it is held against. CPU time is that of the process, for one call or event."
)

TARGET_HEADS: Final = ("measure", "reached", "goal", "holds")

NOT_MEASURED: Final = "not measured"

_UNITS: Final = {measure.name: measure.unit for measure in MEASURES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The data of a report."""

    options: Options
    machine: Machine
    results: Results
    seconds: float
    """Duration of the run."""

    growth: float | None = None
    """By what factor the worker drained more slowly with the most rows, in the last run of bench-growth."""

    def targets(self) -> Iterator[tuple[Target, float | None]]:
        """Each target with what was reached; None where it was not measured."""
        for target in TARGETS:
            yield target, target.reached(self.results)
        yield GROWTH, self.growth


def report(run: Run) -> str:
    how = (
        f"Rounds: {run.options.rounds}; loads of {run.options.seconds} s; {run.seconds / 60:.1f} minutes in all. {HOW}"
    )
    parts = [
        [how],
        [f"Machine: {run.machine}"],
        list(table(_heads(), (_row(run.results, key) for key in run.results.keys()))),  # noqa: SIM118 - no mapping
        list(table(TARGET_HEADS, (_target(target, reached) for target, reached in run.targets()))),
        failed(run.results),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def failed(results: Results) -> list[str]:
    """What could not be measured, and why; empty where all was."""
    if not results.failures:
        return []
    return ["Failed:", "", *(f"- {_name(key)}: {failure}" for key, failure in results.failures.items())]


def cell(spread: Spread | None) -> str:
    """A figure with its spread."""
    if spread is None:
        return NOTHING
    if spread.least == spread.most:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.least)} to {number(spread.most)})"


def _heads() -> list[str]:
    heads = ["measure", "case", "way", "of a"]
    for figure in FIGURES:
        heads += [HEADS[figure], TIMES]
    return [*heads, "held against"]


def _row(results: Results, key: Key) -> list[str]:
    cells = [key.measure, key.case, key.way, _UNITS.get(key.measure, "")]
    against: dict[str, str] = {}
    for figure in FIGURES:
        held = reference(results, key, figure)
        times = None if held is None else ratio(results.median(key, figure), results.median(held.key, figure))
        cells += [cell(results.spread(key, figure)), NOTHING if times is None else number(times)]
        if held is not None and times is not None:
            against[figure] = held.name
    return [*cells, _against(against)]


def _against(names: Mapping[str, str]) -> str:
    """The column of references: shorter where all figures have the same."""
    if len(set(names.values())) > 1:
        return "; ".join(f"{HEADS[figure]}: {name}" for figure, name in names.items())
    return next(iter(names.values()), NOTHING)


def _target(target: Target, reached: float | None) -> Sequence[str]:
    goal = f"{target.sense} {number(target.goal)} {target.unit}"
    if reached is None:
        return (target.measure, NOT_MEASURED, goal, NOTHING)
    return (target.measure, f"{number(reached)} {target.unit}", goal, "yes" if target.holds(reached) else "NO")


def _name(key: Key) -> str:
    return ", ".join(part for part in (key.measure, key.case, key.way) if part)

"""What was measured: a sample for each round, and their spread."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

RATE: Final = "rate"
"""Calls or events a second, by the measure's unit."""

P50_MS: Final = "p50_ms"
P99_MS: Final = "p99_ms"
MAX_MS: Final = "max_ms"

CPU_MS: Final = "cpu_ms"
"""CPU time of the process for a call or event, in milliseconds."""

MIB: Final = "mib"
"""Resident memory in MiB."""

FIGURES: Final = (RATE, P50_MS, P99_MS, CPU_MS, MIB)
"""The figures of the report; samples have further ones."""

HIGHER_IS_BETTER: Final = frozenset({RATE})


@dataclass(frozen=True, slots=True)
class Key:
    """What was measured: measure, case and way."""

    measure: str
    case: str
    way: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of a round."""

    key: Key
    round: int
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    median: float
    least: float
    most: float


@dataclass(slots=True)
class Results:
    """All samples, in the order in which they were measured, and what could not be measured."""

    samples: list[Sample] = field(default_factory=list)
    failures: dict[Key, str] = field(default_factory=dict)

    def keys(self) -> Iterator[Key]:
        """Each key once, in the order of the first measurements."""
        yield from dict.fromkeys(sample.key for sample in self.samples)

    def spread(self, key: Key, figure: str) -> Spread | None:
        """Returns None where it was not measured."""
        values = [sample.figures[figure] for sample in self.samples if sample.key == key and figure in sample.figures]
        return Spread(statistics.median(values), min(values), max(values)) if values else None

    def median(self, key: Key, figure: str) -> float | None:
        """Returns None where it was not measured."""
        spread = self.spread(key, figure)
        return None if spread is None else spread.median

    def as_json(self) -> dict[str, Any]:
        return {
            "samples": [
                {
                    "measure": sample.key.measure,
                    "case": sample.key.case,
                    "way": sample.key.way,
                    "round": sample.round,
                    **sample.figures,
                }
                for sample in self.samples
            ],
            "failures": [
                {"measure": key.measure, "case": key.case, "way": key.way, "failure": failure}
                for key, failure in self.failures.items()
            ],
        }


def ratio(value: float | None, other: float | None) -> float | None:
    """Returns None where one of them is missing, or the other is 0."""
    return value / other if value is not None and other else None

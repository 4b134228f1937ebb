"""The targets of the service on two cores, and what it reached."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from tests.bench.markdown import TIMES
from tests.bench.measures import batches, calls, confirmation, drains, frozen, limits, memory, starts
from tests.bench.references import slower_limit
from tests.bench.results import CPU_MS, MIB, P50_MS, P99_MS, RATE, Key, Results, ratio
from tests.bench.ways import CONNECT_ECHO, GRPCAIO, TEXTBOOK, TEXTBOOK_WORKER, THIS, TUNED, Way

Reached = Callable[[Results], float | None]
"""Returns what was reached, or None where it was not measured."""


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and its goal."""

    measure: str
    reached: Reached
    sense: Literal["≤", "≥"]
    goal: float
    unit: str
    """What the figure is a multiple of, or its unit."""

    def holds(self, reached: float) -> bool:
        return reached <= self.goal if self.sense == "≤" else reached >= self.goal


def _of(key: Key, figure: str) -> Reached:
    return lambda results: results.median(key, figure)


def _call(case: str, way: Way, figure: str) -> Reached:
    return _of(Key(calls.NAME, case, way.name), figure)


def _ratio(one: Reached, other: Reached) -> Reached:
    return lambda results: ratio(one(results), other(results))


def _slower_limit(results: Results) -> float | None:
    limit = slower_limit(results)
    return None if limit is None else results.median(limit.key, RATE)


_ECHO_CPU: Final = _call(calls.MOST, CONNECT_ECHO, CPU_MS)
_RATE: Final = _call(calls.MOST, THIS, RATE)
_LONE_P50: Final = _call(calls.LONE, THIS, P50_MS)
_DRAINED: Final = _of(Key(drains.NAME, drains.CASE, THIS.name), RATE)
_LATE_MIB: Final = _of(Key(memory.NAME, memory.LATE, THIS.name), MIB)


def _start(case: str) -> Reached:
    return _ratio(_of(Key(starts.NAME, case, THIS.name), P50_MS), _of(Key(starts.NAME, case, starts.IMPORTS), P50_MS))


TARGETS: Final = (
    Target(
        "ingress CPU a call, 128 connections",
        _ratio(_call(calls.MOST, THIS, CPU_MS), _ECHO_CPU),
        "≤",
        3.5,
        f"{TIMES} Connect echo",
    ),
    Target("calls/s, 128 connections", _ratio(_RATE, _call(calls.MOST, TEXTBOOK, RATE)), "≥", 8, f"{TIMES} textbook"),
    Target("calls/s, 128 connections", _ratio(_RATE, _call(calls.MOST, TUNED, RATE)), "≥", 3, f"{TIMES} tuned"),
    Target("calls/s, 128 connections", _ratio(_RATE, _call(calls.MOST, GRPCAIO, RATE)), "≥", 2.5, f"{TIMES} grpcaio"),
    Target("lone call, p50", _ratio(_LONE_P50, _call(calls.LONE, TEXTBOOK, P50_MS)), "≤", 0.15, f"{TIMES} textbook"),
    Target(
        "lone call, p50",
        _ratio(_LONE_P50, _of(Key(limits.NAME, limits.LONE_COMMIT, limits.WAY), P50_MS)),
        "≤",
        1.3,
        f"{TIMES} bare commit",
    ),
    Target(
        "p99, 128 connections",
        _ratio(_call(calls.MOST, THIS, P99_MS), _call(calls.MOST, TEXTBOOK, P99_MS)),
        "≤",
        0.25,
        f"{TIMES} textbook",
    ),
    Target(
        "ingress CPU an event, LogEvents of 100",
        _ratio(_of(Key(batches.NAME, batches.CASE, THIS.name), CPU_MS), _ECHO_CPU),
        "≤",
        1.3,
        f"{TIMES} Connect echo's call",
    ),
    Target("worker, from a backlog", _DRAINED, "≥", 4000, "events/s"),
    Target(
        "worker, from a backlog",
        _ratio(_DRAINED, _of(Key(drains.NAME, drains.CASE, TEXTBOOK_WORKER.name), RATE)),
        "≥",
        20,
        f"{TIMES} textbook-worker",
    ),
    Target("worker, from a backlog", _ratio(_DRAINED, _slower_limit), "≥", 0.4, f"{TIMES} the slower of its limits"),
    Target(
        "worker CPU an event",
        _ratio(_of(Key(drains.NAME, drains.CASE, THIS.name), CPU_MS), _ECHO_CPU),
        "≤",
        1.5,
        f"{TIMES} Connect echo's call",
    ),
    Target(
        "p99 of calls while Pub/Sub is frozen",
        _ratio(
            _of(Key(frozen.NAME, frozen.FROZEN, THIS.name), P99_MS),
            _of(Key(frozen.NAME, frozen.BEFORE, THIS.name), P99_MS),
        ),
        "≤",
        1.2,
        f"{TIMES} before",
    ),
    Target(
        "answer to confirmation, low load, p50",
        _of(Key(confirmation.NAME, confirmation.CASE, THIS.name), P50_MS),
        "≤",
        100,
        "ms",
    ),
    Target("start of the ingress", _start(starts.INGRESS), "≤", 1.2, f"{TIMES} bare imports"),
    Target("start of the worker", _start(starts.WORKER), "≤", 1.2, f"{TIMES} bare imports"),
    Target("memory, 128 connections", _LATE_MIB, "≤", 150, "MiB"),
    Target(
        "memory after 5 minutes",
        _ratio(_LATE_MIB, _of(Key(memory.NAME, memory.EARLY, THIS.name), MIB)),
        "≤",
        1.05,
        f"{TIMES} minute 1",
    ),
)

GROWTH: Final = Target(
    "worker's time for a backlog, 1,000,000 rows", lambda _: None, "≤", 1.2, f"{TIMES} that with 10,000 rows"
)
"""Measured by another program, tests/bench/growth."""

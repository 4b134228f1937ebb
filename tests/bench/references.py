"""The reference of each figure in the report: a limit where there is one, otherwise the way or case before it."""

from dataclasses import dataclass

from tests.bench.measures import batches, calls, drains, frozen, limits, memory, payloads, starts, tracing
from tests.bench.results import CPU_MS, RATE, Key, Results
from tests.bench.ways import CONNECT_ECHO


@dataclass(frozen=True, slots=True)
class Reference:
    key: Key
    name: str
    """Its name in the report."""


def reference(results: Results, key: Key, figure: str) -> Reference | None:
    """The reference of a figure; None where there is none, or it is the reference itself."""
    found = _reference(results, key, figure)
    return None if found is None or found.key == key else found


def slower_limit(results: Results) -> Reference | None:
    """The slower of a worker's two limits; None where not both were measured."""
    found = [
        (rate, Reference(key, case))
        for case in (limits.PULLS, limits.FLUSHES)
        if (rate := results.median(key := Key(limits.NAME, case, limits.WAY), RATE)) is not None
    ]
    return min(found, key=lambda each: each[0])[1] if len(found) > 1 else None


def _reference(results: Results, key: Key, figure: str) -> Reference | None:
    # CPU time for an event is compared with a whole call of the echo, as in the targets.
    if key.measure in {batches.NAME, limits.NAME, drains.NAME} and figure == CPU_MS:
        return Reference(Key(calls.NAME, calls.MOST, CONNECT_ECHO.name), "the echo's call")
    if key.measure == drains.NAME:
        return slower_limit(results)
    case, way, name = {
        calls.NAME: (key.case, CONNECT_ECHO.name, CONNECT_ECHO.name),
        payloads.NAME: (key.case, CONNECT_ECHO.name, CONNECT_ECHO.name),
        batches.NAME: (key.case, CONNECT_ECHO.name, CONNECT_ECHO.name),
        tracing.NAME: (key.case, tracing.OFF, "not traced"),
        frozen.NAME: (frozen.BEFORE, key.way, "before"),
        starts.NAME: (key.case, starts.IMPORTS, starts.IMPORTS),
        memory.NAME: (memory.AT_REST, memory.IMPORTS, memory.IMPORTS),
    }.get(key.measure, ("", "", ""))
    return Reference(Key(key.measure, case, way), name) if name else None

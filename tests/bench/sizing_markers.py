"""The measured figures of deploy/SIZING.md, as the bench's JSON has them."""

import statistics
from collections.abc import Mapping
from typing import Any, Final

from tests.bench.measures import batches, calls, confirmation, drains, memory, payloads
from tests.bench.results import CPU_MS, MIB, P50_MS, P99_MS, RATE, Key
from tests.bench.ways import THIS, THIS_WORKER

MARKERS: Final = {
    "ingress_cpu_ms_at_128": (Key(calls.NAME, calls.MOST, THIS.name), CPU_MS),
    "ingress_calls_per_s_at_128": (Key(calls.NAME, calls.MOST, THIS.name), RATE),
    "p99_ms_at_128": (Key(calls.NAME, calls.MOST, THIS.name), P99_MS),
    "lone_p50_ms": (Key(calls.NAME, calls.LONE, THIS.name), P50_MS),
    "log_events_cpu_ms": (Key(batches.NAME, batches.CASE, THIS.name), CPU_MS),
    "large_cpu_ms": (Key(payloads.NAME, "64 KiB", THIS.name), CPU_MS),
    "worker_cpu_ms": (Key(drains.NAME, drains.CASE, THIS_WORKER.name), CPU_MS),
    "worker_events_per_s": (Key(drains.NAME, drains.CASE, THIS_WORKER.name), RATE),
    "confirmation_p50_ms": (Key(confirmation.NAME, confirmation.CASE, THIS.name), P50_MS),
    "memory_mib": (Key(memory.NAME, memory.LATE, THIS.name), MIB),
}
"""By the name that stands for a figure in the document: where the bench's JSON has it."""


def markers(run: Mapping[str, Any]) -> dict[str, float]:
    """The figures of MARKERS that `run`, the bench's JSON, has: by name, the median of the rounds."""
    found: dict[str, float] = {}
    for name, (key, figure) in MARKERS.items():
        values = [
            sample[figure]
            for sample in run["samples"]
            if (sample["measure"], sample["case"], sample["way"]) == (key.measure, key.case, key.way)
            and figure in sample
        ]
        if values:
            found[name] = statistics.median(values)
    return found

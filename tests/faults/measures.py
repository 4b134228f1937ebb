"""Measurements of a run: latency percentiles, memory of processes, requests to Statsig."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio

from deploy.local.processes import ManagedProcess
from deploy.local.statsig_stand_in import LoggedEvent
from tests.faults.client import ABANDONED, Attempt

SAMPLE_SECONDS: Final = 0.25

BURST_WINDOW_SECONDS: Final = 10.0
"""Seconds after a heal, in which a storm of retries would show."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of answered attempts in milliseconds; zeros where there are none."""

    count: int = 0
    p50: float = 0.0
    p99: float = 0.0
    longest: float = 0.0

    def __str__(self) -> str:
        return f"{self.p50:.0f}/{self.p99:.0f}" if self.count else "-"


def latency(attempts: Iterable[Attempt]) -> Latency:
    values = sorted(a.seconds * 1000 for a in attempts if a.answered and a.code != ABANDONED)
    if not values:
        return Latency()
    return Latency(len(values), _percentile(values, 0.5), _percentile(values, 0.99), values[-1])


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def requests_per_second(received: Iterable[LoggedEvent], since: float) -> float:
    """Accepted requests in the busiest second after `since`."""
    seconds: dict[int, set[int]] = {}
    for entry in received:
        offset = entry.received_at - since
        if 0 <= offset < BURST_WINDOW_SECONDS:
            seconds.setdefault(int(offset), set()).add(entry.request)
    return float(max((len(requests) for requests in seconds.values()), default=0))


@dataclass(slots=True)
class MemoryWatch:
    """Samples the resident memory of the processes, including those that end meanwhile."""

    processes: Mapping[str, ManagedProcess]
    """The stack's own mapping, so that restarted processes are followed."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    """MiB, by process name."""

    async def run(self) -> None:
        """Samples until it is cancelled."""
        while True:
            for name, process in self.processes.items():
                if (name == "ingress" or name.startswith("worker-")) and process.returncode is None:
                    self.samples.setdefault(name, []).append(resident_mib(process.pid))
            await anyio.sleep(SAMPLE_SECONDS)

    def peaks(self) -> dict[str, float]:
        return {name: max(values) for name, values in self.samples.items()}

    def marks(self) -> dict[str, int]:
        """The number of samples so far, for `growth_since`."""
        return {name: len(values) for name, values in self.samples.items()}

    def growth_since(self, marks: Mapping[str, int]) -> float:
        """The largest growth of a process since then, in MiB: its peak beyond its peak before.

        Not beyond its last sample before: a process that has just been restarted has next to nothing then.
        """
        return max(
            (
                max(values[marks[name] :]) - max(values[: marks[name]])
                for name, values in self.samples.items()
                if 0 < marks.get(name, 0) < len(values)
            ),
            default=0.0,
        )


def resident_mib(pid: int) -> float:
    """The resident memory of a process; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0.0)

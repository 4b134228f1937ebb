"""A process's CPU time and memory, from the operating system. Linux only.

CPU time is read from the process's CPU-time clock (clock_getcpuclockid(3)): nanoseconds of all its threads, including
those that ended. /proc/PID/stat has hundredths of a second only, and /proc/PID/task/*/schedstat lacks threads that
ended.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import anyio

from tests.bench.errors import MeasurementError

_PROCESS_CLOCK: Final = 2
"""CPUCLOCK_SCHED, the low bits of a clock's number: all CPU time that the scheduler gave the process."""

STILL_SECONDS: Final = 0.1
STILL_CPU_SECONDS: Final = 0.004
"""CPU time in one look below which a process is at rest: 4 % of a CPU. An idle event loop takes a tenth of that."""

REST_SECONDS: Final = 30.0
"""The timeout until a process is at rest. Calls in flight of the slowest way end within seconds."""

LEAST_AVAILABLE: Final = 0.15
"""The least share of the machine's memory to go on. The Spanner emulator keeps every row in it, 12 KiB an event."""

_KIB_PER_MIB: Final = 1024


def cpu_seconds(pid: int) -> float:
    """CPU time of the process since its start, in user and kernel mode.

    Raises:
        MeasurementError: It has ended.
    """
    try:
        return time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)
    except OSError as error:
        raise MeasurementError(f"process {pid} has ended") from error


async def cpu_seconds_at_rest(pid: int) -> float:
    """`cpu_seconds`, once the process is at rest.

    Raises:
        MeasurementError: It does not come to rest, or has ended.
    """
    with anyio.move_on_after(REST_SECONDS):
        before = cpu_seconds(pid)
        while True:
            await anyio.sleep(STILL_SECONDS)
            now = cpu_seconds(pid)
            if now - before < STILL_CPU_SECONDS and not _is_runnable(pid):
                return now
            before = now
    raise MeasurementError(f"process {pid} was still busy {REST_SECONDS:g} s after its load had ended")


def _is_runnable(pid: int) -> bool:
    """Whether a thread runs or waits for a CPU: on a busy machine a waiting one takes no CPU time either."""
    try:
        return any(parse_state(stat.read_text()) == "R" for stat in Path(f"/proc/{pid}/task").glob("*/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return True  # a thread ended meanwhile, so the process was active


def parse_state(stat: str) -> str:
    """The state letter of a /proc/PID/task/TID/stat. The name before it may have any characters."""
    return stat.rpartition(")")[2].split()[0]


def resident_mib(pid: int) -> float:
    """Resident memory of the process.

    Raises:
        MeasurementError: It has ended.
    """
    try:
        return parse_resident_mib(Path(f"/proc/{pid}/status").read_text())
    except (OSError, ValueError) as error:
        raise MeasurementError(f"process {pid} has ended") from error


def parse_resident_mib(status: str) -> float:
    """VmRSS of a /proc/PID/status.

    Raises:
        ValueError: It has none, like that of a process that has ended and was not waited for.
    """
    return _kib(status, "VmRSS") / _KIB_PER_MIB


def available_share() -> float:
    """The share of the machine's memory that is available, from 0 to 1."""
    return parse_available_share(Path("/proc/meminfo").read_text())


def parse_available_share(meminfo: str) -> float:
    return _kib(meminfo, "MemAvailable") / _kib(meminfo, "MemTotal")


def _kib(text: str, name: str) -> int:
    for label, value in _lines(text):
        if label == name:
            return int(value.removesuffix("kB"))
    raise ValueError(f"no {name}")


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        label, _, value = line.partition(":")
        yield label, value.strip()

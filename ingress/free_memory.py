"""Free memory: given back to the operating system once the process is idle.

After a flood glibc keeps most of what was freed, since one object in use holds all free memory below it on the heap: of
50 MiB 20 stayed after batches whose answers nobody read, with nothing leaked. The HTTP server has an allocator of its
own (see `ingress/__main__.py`), and what Python keeps for small objects cannot be given back.
"""

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

INTERVAL_SECONDS: Final = 1.0
"""Time between two looks at the memory. A look takes 30 µs."""

IDLE_SHARE: Final = 0.2
"""The process is idle if it used less than this share of a core since the last look. Trimming holds glibc's lock for
0.1 ms a MiB, and under load calls would wait for it."""

WORTH_MIB: Final = 8.0
"""The growth since the last trim that is worth another."""

_BYTES_PER_MIB: Final = 1024 * 1024


async def give_back_until(stopping: anyio.Event, cpu_seconds: Callable[[], float] = time.process_time) -> None:
    """Give memory back whenever the process has grown and is idle, until `stopping` is set. Without glibc do nothing.

    `cpu_seconds` is the CPU time that this process has used.
    """
    trim = malloc_trim()
    if trim is None:
        return
    least = resident_mib()
    cpu_before = cpu_seconds()
    while not stopping.is_set():
        with anyio.move_on_after(INTERVAL_SECONDS):
            await stopping.wait()
        cpu_now = cpu_seconds()
        is_idle = cpu_now - cpu_before < IDLE_SHARE * INTERVAL_SECONDS
        cpu_before = cpu_now
        least = min(least, resident_mib())
        if is_idle and resident_mib() - least > WORTH_MIB:
            await anyio.to_thread.run_sync(trim, 0)
            # What could not be given back now could not be a second later either.
            least = resident_mib()


def malloc_trim() -> Callable[[int], int] | None:
    """The trim of glibc (malloc_trim(3)), which releases the GIL; None where the C library has none (musl, macOS)."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def resident_mib() -> float:
    """The memory of this process that is in RAM. Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _BYTES_PER_MIB

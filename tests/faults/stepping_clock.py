"""`python -m tests.faults.stepping_clock FOLDER PROGRAM`: ingress or worker with a clock that its row can step.

Imports nothing of the project's before the clock is replaced: a module that took `time.time` for itself would keep the
right one. What C code reads, as `datetime.now` and the log's own times do, stays right; so must gRPC, which adds a
timeout to `time.time()` in Python and takes the sum apart again by the clock that C sees. On a machine whose clock
steps the two agree.
"""

import mmap
import os
import runpy
import struct
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

_NANOS: Final = struct.Struct("<q")


def offset_file(folder: Path, pid: int) -> Path:
    """Of one process, so that each has a clock of its own. The process makes the file."""
    return folder / f"clock-{pid}"


def step(folder: Path, pid: int, seconds: float) -> None:
    """From now on the process's clock is wrong by so much."""
    path = offset_file(folder, pid)
    with path.open("r+b", buffering=0) as file:
        file.write(_NANOS.pack(int(seconds * 1e9)))


def replace_clock(path: Path) -> None:
    path.write_bytes(_NANOS.pack(0))
    # A mapped file: a look at the clock costs no system call, and a step is seen by the next look.
    with path.open("rb") as file:
        offset = mmap.mmap(file.fileno(), _NANOS.size, access=mmap.ACCESS_READ)
    right_nanos, right = time.time_ns, time.time

    def time_ns() -> int:
        nanos: int = _NANOS.unpack_from(offset)[0]
        return right_nanos() + nanos

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
    deadlines: Any = import_module("grpc.aio._utils")
    deadlines.time = SimpleNamespace(time=right)


def main() -> None:
    folder, program = sys.argv[1:3]
    replace_clock(offset_file(Path(folder), os.getpid()))
    sys.argv = [program]
    runpy.run_module(program, run_name="__main__")


if __name__ == "__main__":
    main()

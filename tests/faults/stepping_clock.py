"""`python -m tests.faults.stepping_clock FOLDER PROGRAM`: ingress or worker with a clock that its row can step.

It imports nothing of the project before it replaces the clock: a module that imported `time.time` would keep the right
one. C code reads the right clock, as `datetime.now` and the log's times do. gRPC must read the right one too: it adds a
timeout to `time.time()` in Python and subtracts the clock that C reads. On a machine whose clock steps both agree.
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
    """The file with a process's offset, so that each process has its own clock. The process creates it."""
    return folder / f"clock-{pid}"


def step(folder: Path, pid: int, seconds: float) -> None:
    """Sets the offset of the process's clock from now on."""
    path = offset_file(folder, pid)
    with path.open("r+b", buffering=0) as file:
        file.write(_NANOS.pack(int(seconds * 1e9)))


def replace_clock(path: Path) -> None:
    path.write_bytes(_NANOS.pack(0))
    # A mapped file: reading the clock costs no system call, and the next read sees a step.
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

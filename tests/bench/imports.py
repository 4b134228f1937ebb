"""Measures a process that only imports the libraries."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from tests.bench.proc import parse_resident_mib

INGRESS_LIBRARIES: Final = (
    "google.cloud.spanner_v1",
    "google.pubsub_v1",
    "connectrpc.server",
    "protovalidate",
    "h2corn._server",
    "uvloop",
)
WORKER_LIBRARIES: Final = ("google.cloud.spanner_v1", "google.pubsub_v1", "statsig.statsig_server", "uvloop")

_PROGRAM: Final = """
import os
import {modules}
with open("/proc/self/status") as status:
    print(status.read(), flush=True)
os._exit(0)
"""
"""It is measured without the end of the interpreter."""


@dataclass(frozen=True, slots=True)
class Imported:
    seconds: float
    """Seconds from the start of the process."""

    mib: float


async def imported(modules: Sequence[str]) -> Imported:
    program = _PROGRAM.format(modules=", ".join(modules))
    began = time.perf_counter()
    done = await anyio.run_process([sys.executable, "-c", program])
    return Imported(time.perf_counter() - began, parse_resident_mib(done.stdout.decode()))

"""Measures a load: the polite caller alone and beside it, and the ingress's memory before, meanwhile and after."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from tests.bench.errors import MeasurementError
from tests.bench.fairness.loads import FloodLoad
from tests.bench.fairness.polite import Answers, call_politely
from tests.bench.proc import cpu_seconds_at_rest, resident_mib
from tests.bench.world import Server, World

STARTING_SECONDS: Final = 1.5
"""The time in which the load begins: an interpreter starts, and builds its bodies."""

LOOK_SECONDS: Final = 0.1
"""The interval between two samples of the memory."""

SETTLING_SECONDS: Final = 2.0
"""The time after the load in which memory is still released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    load: FloodLoad
    alone: Answers
    beside: Answers
    afterwards: Answers
    mib: tuple[float, float, float]
    """Memory before the load, at its peak, and after it."""

    flood: dict[str, int]
    """Counts of the load's own answers."""


async def measure(world: World, server: Server, load: FloodLoad, seconds: float, *, niceness: int) -> Beside:
    port = int(server.url.rpartition(":")[2])
    pid = server.process.pid
    alone = await call_politely(port, seconds)
    before = resident_mib(pid)
    async with anyio.create_task_group() as tasks:
        watch = _Watch(pid)
        tasks.start_soon(watch.look)
        flood = _Flood(world, load, [port, STARTING_SECONDS + seconds, niceness])
        tasks.start_soon(flood.run)
        await anyio.sleep(STARTING_SECONDS)
        beside = await call_politely(port, seconds)
        await flood.ended.wait()
        tasks.cancel_scope.cancel()
    await cpu_seconds_at_rest(pid)
    await anyio.sleep(SETTLING_SECONDS)
    after = resident_mib(pid)
    return Beside(
        load=load,
        alone=alone,
        beside=beside,
        afterwards=await call_politely(port, seconds / 2),
        mib=(before, max(watch.most, after), after),
        flood=flood.seen,
    )


class _Watch:
    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.most = 0.0

    async def look(self) -> None:
        while True:
            self.most = max(self.most, resident_mib(self._pid))
            await anyio.sleep(LOOK_SECONDS)


class _Flood:
    """The load's process."""

    def __init__(self, world: World, load: FloodLoad, arguments: Sequence[float]) -> None:
        self._environment = world.environment
        self._arguments = ["-m", "tests.bench.fairness.flood", load.name, *map(str, arguments)]
        self.seen: dict[str, int] = {}
        self.ended = anyio.Event()

    async def run(self) -> None:
        done = await anyio.run_process([sys.executable, *self._arguments], env=self._environment, check=False)
        if done.returncode != 0:
            raise MeasurementError(f"the load ended with {done.returncode}: {done.stderr.decode()[-500:]}")
        self.seen = json.loads(done.stdout)
        self.ended.set()

"""`start`: the time from the start of a process until it works, beside one that only imports the same libraries.

The ingress works once it has answered a call, the worker once it logs that it has started: it has checked the schema
then, and pulls.
"""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import anyio
import pyqwest

from deploy.local.processes import ManagedProcess, free_port
from tests.bench.bench import Bench, Figures, Measure
from tests.bench.bodies import LOG_EVENT, usual_event
from tests.bench.errors import MeasurementError
from tests.bench.imports import INGRESS_LIBRARIES, WORKER_LIBRARIES, imported
from tests.bench.options import Options
from tests.bench.proc import resident_mib
from tests.bench.results import MIB, P50_MS, Key
from tests.bench.ways import THIS, THIS_WORKER
from tests.bench.world import StandIn, World

NAME: Final = "start"

INGRESS: Final = "ingress"
WORKER: Final = "worker"
IMPORTS: Final = "bare imports"

POLL_SECONDS: Final = 0.005
PATIENCE_SECONDS: Final = 60.0

_WAYS: Final = 4

_ABSENT: Final = (OSError, pyqwest.ReadError, pyqwest.WriteError, pyqwest.RemoteProtocolError)
"""Errors of a port on which no process listens yet."""


async def _run(bench: Bench) -> None:
    async with bench.world(NAME, keeps_messages=True) as world:
        stand_in = await world.play_statsig()
        ways: dict[tuple[str, str], Callable[[], Awaitable[Figures]]] = {
            (INGRESS, THIS.name): lambda: _ingress(world),
            (INGRESS, IMPORTS): lambda: _imports(INGRESS_LIBRARIES),
            (WORKER, THIS.name): lambda: _worker(world, stand_in),
            (WORKER, IMPORTS): lambda: _imports(WORKER_LIBRARIES),
        }
        # The first start of each compiles bytecode and fills the page cache.
        for start in ways.values():
            await start()
        for turn in range(bench.options.rounds):
            for (case, way), start in ways.items():
                await bench.attempt(Key(NAME, case, way), turn, start)


async def _ingress(world: World) -> Figures:
    port = free_port()
    client, body = pyqwest.Client(), json.dumps(usual_event()).encode()
    began = time.perf_counter()
    process, _ = await world.launch(THIS, {"HOST": "127.0.0.1", "PORT": str(port)})

    async def answers() -> bool:
        with suppress(*_ABSENT):
            response = await client.post(
                f"http://127.0.0.1:{port}{LOG_EVENT}", headers={"content-type": "application/json"}, content=body
            )
            if response.status != 200:
                raise MeasurementError(f"the first call was answered with {response.status}")
            return True
        return False

    await _until(answers, process)
    took = time.perf_counter() - began
    mib = resident_mib(process.pid)
    await process.terminate()
    return {P50_MS: 1000 * took, MIB: mib}


async def _worker(world: World, stand_in: StandIn) -> Figures:
    began = time.perf_counter()
    process, log = await world.launch(THIS_WORKER, stand_in.settings)

    async def says_so() -> bool:
        return b'"worker_started"' in await anyio.Path(log).read_bytes()

    await _until(says_so, process)
    took = time.perf_counter() - began
    mib = resident_mib(process.pid)
    await process.terminate()
    return {P50_MS: 1000 * took, MIB: mib}


async def _imports(modules: Sequence[str]) -> Figures:
    done = await imported(modules)
    return {P50_MS: 1000 * done.seconds, MIB: done.mib}


async def _until(condition: Callable[[], Awaitable[bool]], process: ManagedProcess) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while not await condition():
            if process.returncode is not None:
                raise MeasurementError(f"{process.name} ended with {process.returncode}")
            await anyio.sleep(POLL_SECONDS)


def _steps(options: Options) -> int:
    return options.rounds * _WAYS


START: Final = Measure(name=NAME, unit="start", steps=_steps, run=_run)

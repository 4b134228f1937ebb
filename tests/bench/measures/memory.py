"""`memory`: the ingress's memory at rest, and after one and five minutes of calls on 128 connections."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from tests.bench.bench import Bench, Figures, Measure
from tests.bench.bodies import LOG_EVENT, usual_event, written
from tests.bench.errors import MeasurementError
from tests.bench.imports import INGRESS_LIBRARIES, imported
from tests.bench.load import warm_up
from tests.bench.options import Options
from tests.bench.proc import LEAST_AVAILABLE, available_share, cpu_seconds_at_rest, resident_mib
from tests.bench.results import MIB, RATE, Key
from tests.bench.ways import THIS
from tests.bench.world import Server
from tests.bench.wrk import Load, run_wrk

NAME: Final = "memory"

AT_REST: Final = "at rest"
EARLY: Final = "after a fifth"
LATE: Final = "in the end"

IMPORTS: Final = "bare imports"
"""The way that it is compared with."""

EARLY_SHARE: Final = 5
"""The early figure is taken after this fraction of the load: after one minute of five."""

CONNECTIONS: Final = 128

LOOK_SECONDS: Final = 1.0
"""The interval between two looks at the machine's memory. The emulator takes some tens of megabytes in one."""

_CASES: Final = 4


@dataclass(slots=True)
class _LongLoad:
    """A load in the background, while its figures are read."""

    server: Server
    body: Path
    seconds: int
    _ended: anyio.Event = field(default_factory=anyio.Event)
    _load: Load | None = None
    _failure: Exception | None = None

    async def run(self) -> None:
        url = f"{self.server.url}{LOG_EVENT}"
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_while_memory_lasts)
                self._load = await run_wrk(url, self.body, connections=CONNECTIONS, seconds=self.seconds)
                tasks.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits for the end
            self._failure = error
        finally:
            self._ended.set()

    async def early(self) -> Figures:
        with anyio.move_on_after(self.seconds / EARLY_SHARE):
            await self._ended.wait()
        return {MIB: resident_mib(self.server.process.pid)}

    async def late(self) -> Figures:
        await self._ended.wait()
        if self._load is None:
            raise self._failure or AssertionError
        return {MIB: resident_mib(self.server.process.pid), RATE: self._load.rate}


async def _run(bench: Bench) -> None:
    async with bench.world(NAME) as world:
        body = written(world.run_dir, "event", usual_event())
        # Its log would have hundreds of megabytes.
        server = await world.serve(THIS, keeps_log=False)
        await warm_up(server, LOG_EVENT, body)
        await bench.attempt(Key(NAME, AT_REST, IMPORTS), 0, _imports)
        await bench.attempt(Key(NAME, AT_REST, THIS.name), 0, partial(_at_rest, server))
        load = _LongLoad(server, body, bench.options.memory_seconds)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load.run)
            await bench.attempt(Key(NAME, EARLY, THIS.name), 0, load.early)
            await bench.attempt(Key(NAME, LATE, THIS.name), 0, load.late)


async def _while_memory_lasts() -> None:
    """Raises: MeasurementError once the emulator, which keeps all rows in memory, has nearly used it up."""
    while available_share() > LEAST_AVAILABLE:
        await anyio.sleep(LOOK_SECONDS)
    raise MeasurementError(
        f"the emulator left less than {LEAST_AVAILABLE:.0%} of the machine's memory: ask for fewer --memory-seconds"
    )


async def _imports() -> Figures:
    return {MIB: (await imported(INGRESS_LIBRARIES)).mib}


async def _at_rest(server: Server) -> Figures:
    await cpu_seconds_at_rest(server.process.pid)
    return {MIB: resident_mib(server.process.pid)}


def _steps(_: Options) -> int:
    return _CASES


MEMORY: Final = Measure(name=NAME, unit="process", steps=_steps, run=_run)

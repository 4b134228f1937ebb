"""`batches`: LogEvents of a hundred events. Rate and CPU time are for an event."""

from typing import Final

from tests.bench.bench import Bench, Figures, Measure
from tests.bench.bodies import EVENTS_OF_A_BATCH, LOG_EVENTS, batch, written
from tests.bench.load import load
from tests.bench.measures.serving import Servers, in_turns, wanted
from tests.bench.options import Options
from tests.bench.ways import CONNECT_ECHO, THIS

NAME: Final = "batches"

CASE: Final = f"LogEvents of {EVENTS_OF_A_BATCH}"

CONNECTIONS: Final = 8
"""Eight hundred events in flight, which fill the groups of any commit."""

_WAYS: Final = (THIS, CONNECT_ECHO)
"""The other ways have no batches."""


async def _run(bench: Bench) -> None:
    ways = wanted(_WAYS, bench.options)
    async with bench.world(NAME) as world:
        body = written(world.run_dir, "batch", batch())
        servers = Servers()
        for way in ways:
            await servers.start(world, way, body, path=LOG_EVENTS)

        async def measuring(_: str, way: str) -> Figures:
            return await load(
                servers[way],
                LOG_EVENTS,
                body,
                connections=CONNECTIONS,
                seconds=bench.options.seconds,
                events_of_a_call=EVENTS_OF_A_BATCH,
            )

        await in_turns(bench, NAME, cases=[CASE], ways=[way.name for way in ways], measuring=measuring)


def _steps(options: Options) -> int:
    return options.rounds * len(wanted(_WAYS, options))


BATCHES: Final = Measure(name=NAME, unit="event", steps=_steps, run=_run)

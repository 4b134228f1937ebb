"""`calls`: LogEvent, by every way, at 1, 8, 32 and 128 connections."""

from typing import Final

from tests.bench.bench import Bench, Figures, Measure
from tests.bench.bodies import LOG_EVENT, usual_event, written
from tests.bench.load import load
from tests.bench.measures.serving import Servers, in_turns, wanted
from tests.bench.options import Options
from tests.bench.ways import SERVERS

NAME: Final = "calls"

LONE: Final = "1 connection"
MOST: Final = "128 connections"
CONNECTIONS: Final = {LONE: 1, "8 connections": 8, "32 connections": 32, MOST: 128}


async def _run(bench: Bench) -> None:
    ways = wanted(SERVERS, bench.options)
    async with bench.world(NAME) as world:
        body = written(world.run_dir, "event", usual_event())
        servers = Servers()
        for way in ways:
            await servers.start(world, way, body)

        async def measuring(case: str, way: str) -> Figures:
            connections = CONNECTIONS[case]
            return await load(servers[way], LOG_EVENT, body, connections=connections, seconds=bench.options.seconds)

        await in_turns(bench, NAME, cases=CONNECTIONS, ways=[way.name for way in ways], measuring=measuring)


def _steps(options: Options) -> int:
    return options.rounds * len(CONNECTIONS) * len(wanted(SERVERS, options))


CALLS: Final = Measure(name=NAME, unit="call", steps=_steps, run=_run)

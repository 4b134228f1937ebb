"""`payloads`: LogEvent with metadata of 0.2, 4 and 64 KiB."""

from typing import Final

from tests.bench.bench import Bench, Figures, Measure
from tests.bench.bodies import LOG_EVENT, PAYLOADS, event_of, written
from tests.bench.load import load
from tests.bench.measures.serving import Servers, in_turns, wanted
from tests.bench.options import Options
from tests.bench.ways import CONNECT_ECHO, TEXTBOOK, THIS

NAME: Final = "payloads"

CONNECTIONS: Final = 32

_WAYS: Final = (TEXTBOOK, THIS, CONNECT_ECHO)
"""The other ways handle a payload as the textbook way does."""


async def _run(bench: Bench) -> None:
    ways = wanted(_WAYS, bench.options)
    async with bench.world(NAME) as world:
        bodies = {payload: written(world.run_dir, payload, event_of(payload)) for payload in PAYLOADS}
        servers = Servers()
        for way in ways:
            await servers.start(world, way, next(iter(bodies.values())))

        async def measuring(payload: str, way: str) -> Figures:
            body, seconds = bodies[payload], bench.options.seconds
            return await load(servers[way], LOG_EVENT, body, connections=CONNECTIONS, seconds=seconds)

        await in_turns(bench, NAME, cases=PAYLOADS, ways=[way.name for way in ways], measuring=measuring)


def _steps(options: Options) -> int:
    return options.rounds * len(PAYLOADS) * len(wanted(_WAYS, options))


PAYLOAD: Final = Measure(name=NAME, unit="call", steps=_steps, run=_run)

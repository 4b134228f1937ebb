"""`tracing`: the ingress without telemetry, with one trace in twenty recorded, and with every one.

Metrics are on in the latter two. They export to a receiver that drops everything.
"""

from typing import Final

from tests.bench.bench import Bench, Figures, Measure
from tests.bench.bodies import LOG_EVENT, usual_event, written
from tests.bench.load import load
from tests.bench.measures.serving import Servers, in_turns
from tests.bench.options import Options
from tests.bench.ways import THIS, Way

NAME: Final = "tracing"

CONNECTIONS: Final = 32
CASE: Final = f"{CONNECTIONS} connections"

OFF: Final = "this, not traced"
SHARES: Final = {OFF: None, "this, 5 % traced": 0.05, "this, 100 % traced": 1.0}
"""The default share of traced calls, and all of them."""

_RECEIVER: Final = Way(name="receiver", module="tests.bench.servers.receiver")


async def _run(bench: Bench) -> None:
    async with bench.world(NAME) as world:
        body = written(world.run_dir, "event", usual_event())
        receiver = await world.serve(_RECEIVER)
        servers = Servers()
        for way, share in SHARES.items():
            settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_TRACES_SAMPLER_ARG": str(share)}
            await servers.start(world, THIS, body, settings={} if share is None else settings, name=way)

        async def measuring(_: str, way: str) -> Figures:
            seconds = bench.options.seconds
            return await load(servers[way], LOG_EVENT, body, connections=CONNECTIONS, seconds=seconds)

        await in_turns(bench, NAME, cases=[CASE], ways=SHARES, measuring=measuring)


def _steps(options: Options) -> int:
    return options.rounds * len(SHARES)


TRACING: Final = Measure(name=NAME, unit="call", steps=_steps, run=_run)

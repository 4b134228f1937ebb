"""`frozen`: calls while Pub/Sub does not answer, against calls just before."""

from typing import Final

import anyio

from tests.bench.bench import Bench, Figures, Measure
from tests.bench.bodies import LOG_EVENT, usual_event, written
from tests.bench.load import load, warm_up
from tests.bench.measures.serving import in_turns
from tests.bench.options import Options
from tests.bench.ways import THIS
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

NAME: Final = "frozen"

BEFORE: Final = "before"
FROZEN: Final = "Pub/Sub frozen"

CONNECTIONS: Final = 32

LOADS: Final = 2
"""Times the usual seconds: a p99 takes many calls, and the queue for Pub/Sub takes a while to fill."""

PAUSE_SECONDS: Final = 60.0
"""The ingress's longest pause of 30 s, and some time for the calls that end it."""


async def _run(bench: Bench) -> None:
    # A proxy and no SIGSTOP, so that it works with an emulator of another process too. Only publishes pass it.
    async with (
        bench.world(NAME) as world,
        tcp_proxy(bench.emulators.pubsub_host) as proxy,
    ):
        body = written(world.run_dir, "event", usual_event())
        server = await world.serve(THIS, {"PUBSUB_EMULATOR_HOST": proxy.address})
        await warm_up(server, LOG_EVENT, body)

        async def until_published() -> None:
            """Waits until the ingress publishes again: its pause after an outage would make calls cheaper."""
            with anyio.fail_after(PAUSE_SECONDS):
                answered = proxy.counts.to_client
                while proxy.counts.to_client == answered:
                    await warm_up(server, LOG_EVENT, body)

        async def measuring(case: str, _: str) -> Figures:
            await until_published()
            await proxy.switch(Mode.BLACKHOLE if case == FROZEN else Mode.PASS)
            try:
                seconds = LOADS * bench.options.seconds
                return await load(server, LOG_EVENT, body, connections=CONNECTIONS, seconds=seconds)
            finally:
                await proxy.switch(Mode.PASS)

        await in_turns(bench, NAME, cases=(BEFORE, FROZEN), ways=[THIS.name], measuring=measuring)


def _steps(options: Options) -> int:
    return options.rounds * 2


FROZEN_CALLS: Final = Measure(name=NAME, unit="call", steps=_steps, run=_run)

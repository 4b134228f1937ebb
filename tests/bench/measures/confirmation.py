"""`confirmation`: the time from a call's answer until Statsig has kept its event, at twenty calls a second."""

import time
from typing import Final

import anyio

from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.bench.bench import Bench, Figures, Measure
from tests.bench.options import Options
from tests.bench.percentiles import percentile
from tests.bench.results import MAX_MS, P50_MS, P99_MS, Key
from tests.bench.statsig_watch import StatsigWatch, confirmations
from tests.bench.ways import THIS, THIS_WORKER
from tests.bench.world import Server, StandIn

NAME: Final = "confirmation"
CASE: Final = "20 calls/s"

EVERY_SECONDS: Final = 0.05

LOADS: Final = 3
"""Times the usual seconds: two hundred calls at this rate, of which two are above the p99."""

WARM_UP_CALLS: Final = 20

PATIENCE_SECONDS: Final = 30.0
"""The timeout of the last confirmation."""


async def _run(bench: Bench) -> None:
    async with bench.world(NAME, keeps_messages=True) as world:
        stand_in = await world.play_statsig()
        server = await world.serve(THIS)
        worker, _ = await world.launch(THIS_WORKER, stand_in.settings)
        await _calls(server, WARM_UP_CALLS)
        watch = StatsigWatch(stand_in)

        async def all_kept(calls: int) -> None:
            await watch.until(lambda stats: stats["distinct"] >= calls, sender=worker, seconds=PATIENCE_SECONDS)

        await all_kept(WARM_UP_CALLS)
        made = WARM_UP_CALLS

        async def measured() -> Figures:
            nonlocal made
            answered = await _calls(server, int(LOADS * bench.options.seconds / EVERY_SECONDS))
            made += len(answered)
            await all_kept(made)
            return _figures(answered, stand_in)

        for turn in range(bench.options.rounds):
            await bench.attempt(Key(NAME, CASE, THIS.name), turn, measured)


async def _calls(server: Server, count: int) -> dict[str, float]:
    """When each event's call was answered, in Unix time. Calls do not wait for the answers of earlier ones."""
    answered: dict[str, float] = {}

    async def call(client: EventLoggingServiceClient) -> None:
        answer = await client.log_event(LogEventRequest(event_name="benchmarked", actor_id="bench"))
        answered[answer.event_id] = time.time()

    async with EventLoggingServiceClient(server.url) as client, anyio.create_task_group() as tasks:
        began = anyio.current_time()
        for number in range(count):
            await anyio.sleep_until(began + number * EVERY_SECONDS)
            tasks.start_soon(call, client)
    return answered


def _figures(answered: dict[str, float], stand_in: StandIn) -> Figures:
    kept = confirmations(stand_in)
    took = sorted(1000 * (kept[event_id] - at) for event_id, at in answered.items())
    return {P50_MS: percentile(took, 50), P99_MS: percentile(took, 99), MAX_MS: took[-1]}


def _steps(options: Options) -> int:
    return options.rounds


CONFIRMATION: Final = Measure(name=NAME, unit="event", steps=_steps, run=_run)

"""A limit: log_event and flush of the SDK alone, with the worker's own clients and a thread for each."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import uvloop

from shared.clock import SystemClock
from shared.events.statsig_projection import StatsigEvent, project
from tests.bench.backlog import new_rows
from tests.bench.limits.arguments import Arguments, arguments
from tests.bench.limits.closed_loop import measured, tell
from worker.statsig.client import StatsigClient
from worker.statsig.outcome import SendVerdict

TIMEOUT_SECONDS = 10.0


async def main(chosen: Arguments) -> None:
    events = [project(row.event).event for row in new_rows(chosen.events)]
    loop = asyncio.get_running_loop()
    lanes: asyncio.Queue[StatsigClient] = asyncio.Queue()
    for _ in range(chosen.in_flight):
        lanes.put_nowait(_lane())
    with ThreadPoolExecutor(chosen.in_flight) as threads:

        async def flush() -> int:
            lane = await lanes.get()
            try:
                return await loop.run_in_executor(threads, _send, lane, events)
            finally:
                lanes.put_nowait(lane)

        tell(await measured(flush, in_flight=chosen.in_flight, seconds=chosen.seconds))
    while not lanes.empty():
        lanes.get_nowait().close()


def _send(lane: StatsigClient, events: Sequence[StatsigEvent]) -> int:
    outcomes = lane.send(events)
    if any(outcome.verdict is not SendVerdict.CONFIRMED for outcome in outcomes.values()):
        raise SystemExit("the stand-in did not confirm everything")
    return len(outcomes)


def _lane() -> StatsigClient:
    return StatsigClient(
        secret=os.environ["STATSIG_SERVER_SECRET"],
        api_url=os.environ["STATSIG_API_URL"],
        principal="service:events",
        environment=os.environ["STATSIG_ENVIRONMENT"],
        timeout_seconds=TIMEOUT_SECONDS,
        clock=SystemClock(),
    )


if __name__ == "__main__":
    uvloop.run(main(arguments(__doc__)))

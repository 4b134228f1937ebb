"""A closed loop around an operation, in a process of its own, that prints its figures as a line of JSON."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

from tests.bench.percentiles import percentile
from tests.bench.results import CPU_MS, MAX_MS, P50_MS, P99_MS, RATE

WARM_UP_OPERATIONS = 3
"""Operations before the measurement: the first one opens channels and sessions."""


async def measured(operation: Callable[[], Awaitable[int]], *, in_flight: int, seconds: float) -> dict[str, float]:
    """Repeat the operation for `seconds`, with several in flight. It returns its number of events.

    The loop ends early when an operation had no events left.
    """
    for _ in range(WARM_UP_OPERATIONS):
        await operation()
    latencies: list[float] = []
    events = 0
    cpu, began = time.process_time(), time.perf_counter()
    ended = began

    async def repeat(until: float) -> None:
        nonlocal events, ended
        while (started := time.perf_counter()) < until:
            done = await operation()
            if not done:
                return
            events += done
            ended = time.perf_counter()
            latencies.append(ended - started)

    async with asyncio.TaskGroup() as loops:
        for _ in range(in_flight):
            loops.create_task(repeat(began + seconds))
    return figures(events=events, seconds=ended - began, cpu_seconds=time.process_time() - cpu, latencies=latencies)


def figures(*, events: int, seconds: float, cpu_seconds: float, latencies: list[float]) -> dict[str, float]:
    """Rate and CPU time for an event, latencies for an operation."""
    if not latencies:
        raise SystemExit("no operation ended: give it more seconds")
    ordered = sorted(latencies)
    return {
        RATE: events / seconds,
        P50_MS: 1000 * percentile(ordered, 50),
        P99_MS: 1000 * percentile(ordered, 99),
        MAX_MS: 1000 * ordered[-1],
        CPU_MS: 1000 * cpu_seconds / events,
    }


def tell(said: dict[str, float]) -> None:
    print(json.dumps(said), flush=True)  # noqa: T201 - the program's answer

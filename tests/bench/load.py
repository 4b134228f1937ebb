"""A closed-loop load: `python -m tests.bench.load URL CONNECTIONS CALLS` prints one line of JSON."""

import asyncio
import json
import sys
import time

import uvloop
from protobuf.wkt import Struct

from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest

WARM_UP_CALLS = 50


async def load(url: str, connections: int, calls: int) -> dict[str, float]:
    """Calls a second, and percentiles of the latency in milliseconds."""
    metadata = Struct.from_python(
        {f"key_{number}": "some text of a usual length" for number in range(8)} | {"value": 3}
    )
    request = LogEventRequest(event_name="benchmarked", actor_id="bench", metadata=metadata)
    latencies: list[float] = []
    left = calls

    async def caller(client: EventLoggingServiceClient) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.perf_counter()
            await client.log_event(request)
            latencies.append(time.perf_counter() - started)

    async with EventLoggingServiceClient(url, send_compression=None) as client:
        for _ in range(WARM_UP_CALLS):
            await client.log_event(request)
        started = time.perf_counter()
        async with asyncio.TaskGroup() as callers:
            for _ in range(connections):
                callers.create_task(caller(client))
        seconds = time.perf_counter() - started
    latencies.sort()
    return {
        "rate": calls / seconds,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))  # noqa: T201 - its answer

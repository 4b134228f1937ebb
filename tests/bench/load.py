"""Measures a load on a server, and the CPU time of that server's process."""

from pathlib import Path

from tests.bench.bench import Figures
from tests.bench.proc import cpu_seconds, cpu_seconds_at_rest
from tests.bench.results import CPU_MS, MAX_MS, P50_MS, P99_MS, RATE
from tests.bench.world import Server
from tests.bench.wrk import run_wrk

WARM_UP_CONNECTIONS = 8
WARM_UP_SECONDS = 1
"""Seconds of calls before the measurement: the first call makes a session, compiles rules and opens channels."""


async def load(
    server: Server, path: str, body: Path, *, connections: int, seconds: int, events_of_a_call: int = 1
) -> Figures:
    """Rate and CPU time are for an event, latencies for a call.

    When its time is up, wrk leaves with a call in flight on each connection. The server still works on these. So the
    CPU time is read once it is at rest, and these calls count with the answered ones.

    Raises:
        MeasurementError: not every answer was a success, or the server ended.
    """
    before = cpu_seconds(server.process.pid)
    done = await run_wrk(f"{server.url}{path}", body, connections=connections, seconds=seconds)
    cpu = await cpu_seconds_at_rest(server.process.pid) - before
    worked_on = (done.requests + connections) * events_of_a_call
    return {
        RATE: done.rate * events_of_a_call,
        P50_MS: done.p50_ms,
        P99_MS: done.p99_ms,
        MAX_MS: done.max_ms,
        CPU_MS: 1000 * cpu / worked_on,
    }


async def warm_up(server: Server, path: str, body: Path) -> None:
    """Raises: as `load`."""
    await load(server, path, body, connections=WARM_UP_CONNECTIONS, seconds=WARM_UP_SECONDS)

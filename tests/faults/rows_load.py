"""Fault rows of the ingress's surroundings: too many calls, slow clients, a full log (F15 to F17)."""

import resource
import time
from typing import Final

import anyio

from tests.faults.client import Load
from tests.faults.lab import Lab
from tests.faults.measures import latency
from tests.faults.raw_http import slow_clients, until_closed
from tests.faults.row import Expectations, Row
from tests.faults.unread_log import let_read

BURST_PER_SECOND: Final = 2000.0

SLOW_CLIENTS: Final = 200
CLOSED_WITHIN_SECONDS: Final = 13.0
"""The head of a request may take 10 s; the rest is slack for a busy machine."""

ROOM_BYTES: Final = 20_000
"""Bytes that the log can still take."""


async def burst(lab: Lab) -> None:
    events = lab.load.events
    await lab.client.run(Load(events=events, per_second=BURST_PER_SECOND), prefix="burst")
    shed = sum(attempt.code == "resource_exhausted" for attempt in lab.client.attempts)
    lab.require(shed > 0, "nothing was shed: no overload")


async def dawdling_clients(lab: Lab) -> None:
    port = int(lab.stack.ingress_url.rpartition(":")[2])
    began = time.time()
    async with slow_clients(port, heads=SLOW_CLIENTS, bodies=SLOW_CLIENTS) as streams:
        with anyio.move_on_after(CLOSED_WITHIN_SECONDS) as patience:
            for stream in streams:
                await until_closed(stream)
        lab.require(not patience.cancelled_caught, "connections of slow clients are still open")
    before = latency(a for a in lab.client.attempts if a.sent_at < began)
    during = latency(a for a in lab.client.attempts if a.sent_at >= began)
    lab.require(during.p50 < 2 * before.p50 + 50, f"others' p50 went from {before.p50:.0f} to {during.p50:.0f} ms")


async def full_log(lab: Lab) -> None:
    """Limits the size of the ingress's log, as a full disk does."""
    process = lab.stack.processes["ingress"]
    log = anyio.Path(lab.stack.run_dir / "ingress.log")
    size = (await log.stat()).st_size
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + ROOM_BYTES, hard))
    await lab.hold(3.0)
    lab.require((await log.stat()).st_size <= size + ROOM_BYTES, "the log grew: it was not full")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))


async def unread_log(lab: Lab) -> None:
    """A pipe whose reader stalls: it takes 64 KiB, the lines of some hundred calls."""
    await lab.until_sent(0.7)
    lab.require(not lab.logged("ingress", "rpc"), "the ingress's log was read")
    let_read(lab.stack.run_dir, lab.stack.processes["ingress"].pid)
    await lab.until_sent(1.0)
    await lab.until(lambda: bool(lab.logged("ingress", "log_lines_dropped")), "the log tells how many lines it lacks")


LOAD_ROWS: Final = (
    Row(
        id="F15",
        title=f"{BURST_PER_SECOND:.0f} events/s, open loop, room for 100 rows",
        fault=burst,
        settings={"COMMIT_QUEUE_ROWS": "100"},
        expect=Expectations(failures=frozenset({"resource_exhausted"}), drain_seconds=60),
    ),
    Row(
        id="F16",
        title=f"{SLOW_CLIENTS} clients that never end a request's head, {SLOW_CLIENTS} its body",
        fault=dawdling_clients,
        settings={"REQUEST_READ_TIMEOUT_SECONDS": "5", "IDLE_TIMEOUT_SECONDS": "5"},
        load_seconds=14.0,
    ),
    Row(id="F17", title="the ingress's log is full", fault=full_log, expect=Expectations(log_may_break=True)),
    Row(
        id="F17b",
        title="nobody reads the ingress's log",
        fault=unread_log,
        wrappers={"ingress": ("tests.faults.unread_log", "{run_dir}")},
        expect=Expectations(log_may_break=True),
    ),
)

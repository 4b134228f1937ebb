"""Fault rows of worker processes: killed, stopped, or beside another worker (F30 to F35, F45 to F50)."""

import signal
import time
from typing import Final

import anyio

from tests.faults.client import OK
from tests.faults.lab import NO_FAULT_POINTS, Lab
from tests.faults.messages import message_of
from tests.faults.row import IN_FLIGHT, RECONCILER_OFF, Expectations, Fault, Row
from tests.support.wire.tcp_proxy import Mode

WORKER: Final = "worker-1"

LEASE_SECONDS: Final = 12.0
"""The subscription's ack deadline of 10 s, and some more."""


def dying_worker(point: str) -> Fault:
    """Crashes twice (once in a quick look) at the row's FAULT_POINTS, then runs on."""

    async def fault(lab: Lab) -> None:
        for settings in (*lab.unless_quick({"FAULT_POINTS": f"{point}=exit@2"}), NO_FAULT_POINTS):
            code = await lab.until_ended(WORKER)
            lab.require(code == 137, f"the worker ended with {code} and not at {point}")
            await lab.restart(WORKER, settings)

    return fault


def at(point: str, action: str = "exit@4") -> dict[str, str]:
    return {"FAULT_POINTS": f"{point}={action}"}


async def terminated(lab: Lab) -> None:
    for _ in range(3):
        await anyio.sleep(lab.random.uniform(0.05, 0.8))
        started = time.monotonic()
        lab.stack.processes[WORKER].send_signal(signal.SIGTERM)
        code = await lab.until_ended(WORKER, 10)
        lab.require(code == 0, f"the worker ended with {code} after SIGTERM")
        lab.require(time.monotonic() - started < 8, "the worker took more than 8 s to end")
        await lab.restart(WORKER)


async def killed(lab: Lab) -> None:
    """Killed three times, every 3 s."""
    for _ in range(3):
        await anyio.sleep(lab.random.uniform(0.2, 1.0))
        await lab.kill(WORKER)
        await lab.restart(WORKER)
        await lab.hold(3.0)


async def lease_lost(lab: Lab) -> None:
    await lab.statsig({"kind": "slow", "delay_seconds": LEASE_SECONDS + 1}, times=1)
    before = await lab.requests()

    async def has_sent() -> bool:
        return await lab.requests() > before

    await lab.until_true(has_sent, "a slow request")
    async with lab.broken(Mode.BLACKHOLE, "worker-pubsub"):
        await anyio.sleep(LEASE_SECONDS)


def published_again(*, latest: int, times: int) -> Fault:
    """Publishes the `latest` answered events again, `times` times at once, for as long as events are sent."""

    async def fault(lab: Lab) -> None:
        copies = 0
        while lab.client.started < lab.load.events:
            keys = [a.key for a in lab.client.attempts[-latest:] if a.code == OK]
            stored = {event.actor_id: event for event in (await lab.stored()).values()}
            messages = [message_of(stored[key]) for key in keys if key in stored]
            await lab.publish(messages * times)
            copies += len(messages) * times
            await anyio.sleep(0.2)
        lab.require(copies > 0, "nothing was published again: no fault")

    return fault


async def spanner_gone_at_settle(lab: Lab) -> None:
    await lab.statsig({"kind": "slow", "delay_seconds": 0.7}, times=1)
    before = int((await lab.statsig_stats())["accepted"])

    async def is_accepted() -> bool:
        return int((await lab.statsig_stats())["accepted"]) > before

    await lab.until_true(is_accepted, "an accepted request that is not answered yet")
    async with lab.broken(Mode.REFUSE, "worker-spanner"):
        await lab.hold(3.0)


async def spanner_gone_at_claim(lab: Lab) -> None:
    async with lab.broken(Mode.REFUSE, "worker-spanner"):
        await anyio.sleep(0.5)
        before = await lab.requests()
        await lab.hold(2.5)
        sent = await lab.requests() - before
        lab.require(sent == 0, f"{sent} requests went to Statsig without a claim")


def cut(mode: Mode, seconds: float) -> Fault:
    async def fault(lab: Lab) -> None:
        async with lab.broken(mode, "worker-pubsub"):
            await lab.hold(seconds)

    return fault


async def paused_past_its_claim(lab: Lab) -> None:
    """The fault point stops the process for longer than its claim lasts; another worker goes on."""
    await anyio.sleep(LEASE_SECONDS + 2)
    lab.incidents += 1


async def stopped(lab: Lab) -> None:
    lab.stack.processes[WORKER].send_signal(signal.SIGSTOP)
    lab.incidents += 1
    await anyio.sleep(LEASE_SECONDS)
    lab.stack.processes[WORKER].send_signal(signal.SIGCONT)


async def slow_statsig(lab: Lab) -> None:
    await lab.statsig({"kind": "slow", "delay_seconds": 0.6})
    await lab.until_sent(1.0)


ONCE_FOR_EACH: Final = Expectations(duplicates_per_incident=IN_FLIGHT)

WORKER_ROWS: Final = (
    Row(
        id="F30a",
        title="worker killed after the pull, twice; no reconciler",
        fault=dying_worker("after_pull"),
        settings={**at("after_pull"), **RECONCILER_OFF},
    ),
    Row(
        id="F30b",
        title="worker killed before the send, twice",
        fault=dying_worker("before_send"),
        settings=at("before_send"),
    ),
    Row(
        id="F31",
        title="worker killed after Statsig's 2xx, twice",
        fault=dying_worker("after_confirm"),
        settings=at("after_confirm"),
        expect=ONCE_FOR_EACH,
    ),
    Row(
        id="F32",
        title="worker killed after settling, before the ack, twice",
        fault=dying_worker("after_settle"),
        settings=at("after_settle"),
        linger_seconds=LEASE_SECONDS,
    ),
    Row(id="F33", title="SIGTERM to the worker, three times", fault=terminated),
    Row(
        id="F34",
        title="lease lost while Statsig takes 13 s; two workers",
        fault=lease_lost,
        settings={"STATSIG_TIMEOUT_SECONDS": "15", "CLAIM_SECONDS": "40"},
        workers=2,
        load_seconds=14.0,
    ),
    Row(
        id="F35",
        title="every message four times, two workers",
        fault=published_again(latest=100, times=3),
        workers=2,
        linger_seconds=1.0,
        expect=Expectations(drain_seconds=110),
    ),
    Row(id="F45", title="Spanner refuses when the worker settles", fault=spanner_gone_at_settle),
    Row(id="F46", title="Spanner refuses when the worker claims", fault=spanner_gone_at_claim),
    Row(id="F47a", title="connections to Pub/Sub reset", fault=cut(Mode.RESET, 2.0)),
    Row(
        id="F47b",
        title="Pub/Sub blackholed past the lease; two workers",
        fault=cut(Mode.BLACKHOLE, LEASE_SECONDS),
        workers=2,
        load_seconds=10.0,
        linger_seconds=2.0,
    ),
    Row(
        id="F48a",
        title="worker stands still past its claim, before sending; two workers",
        fault=paused_past_its_claim,
        settings=at("after_claim", f"pause:{LEASE_SECONDS:g}@4"),
        workers=2,
        load_seconds=10.0,
        linger_seconds=2.0,
    ),
    Row(
        id="F48b",
        title="worker stopped for 12 s at any point (SIGSTOP); two workers",
        fault=stopped,
        workers=2,
        load_seconds=10.0,
        expect=ONCE_FOR_EACH,
        linger_seconds=2.0,
    ),
    Row(
        id="F49",
        title="Statsig takes 0.6 s, events come faster than it takes them",
        fault=slow_statsig,
        expect=Expectations(memory_growth_mib=60, drain_seconds=60),
    ),
    Row(id="F50", title="worker killed every 3 s, three times", fault=killed, load_seconds=14.0, expect=ONCE_FOR_EACH),
)

"""Fault rows of long outages: what they leave behind, and which process can start in one (F57, F59)."""

import signal
from datetime import datetime
from typing import Final

import anyio

from tests.faults.client import OK
from tests.faults.lab import Lab
from tests.faults.message_count import counted_messages
from tests.faults.row import Expectations, Row
from tests.faults.rows_ingress import AWAY, RESTARTS
from tests.faults.rows_statsig import status
from tests.faults.rows_worker import WORKER
from tests.support.wire.tcp_proxy import Mode

MINUTE: Final = 0.2
"""Stands for the minute after which an event is republished first: the later intervals of ten minutes, an hour and six
hours are 2, 12 and 72 s then."""

A_DAY_SECONDS: Final = 90.0
"""Stands for an outage of a day."""

HALF_AN_HOUR_SECONDS: Final = 30.0
"""Stands for a shorter outage, for which a usual run has time: it has all intervals but the last."""

MESSAGES_EACH: Final = 5
"""The most messages of an event: the ingress's own, and one for each interval that may pass around the outage."""

ROUND_SECONDS: Final = 1.0
"""The time of a round that had begun when the circuit opened."""


async def days_outage(lab: Lab) -> None:
    await lab.until_sent(1.0)
    await lab.until_true(lab.settled, "everything settled before the outage")
    async with counted_messages(lab.stack) as messages:
        await lab.statsig(status(503))
        # The load was sent before: these are the events of the outage.
        await lab.client.run(lab.load, prefix="outage")
        await lab.until(lambda: bool(lab.logged(WORKER, "circuit_opened")), "an open circuit")
        await anyio.sleep(lab.long(A_DAY_SECONDS, short=HALF_AN_HOUR_SECONDS))
        lab.require(not await lab.settled(), "nothing is pending: no outage")
        await lab.statsig()
        await lab.until_true(lab.settled, "everything settled after the outage", 60)
    most = max(messages.values(), default=0)
    lab.note(f"{sum(messages.values())} messages of {len(messages)} events, {most} of one at most")
    lab.require(len(messages) >= lab.load.events, f"messages of {len(messages)} events only were seen")
    lab.require(most <= MESSAGES_EACH, f"{most} messages of one event, {MESSAGES_EACH} allowed")
    republished = published_while_open(lab)
    lab.require(republished == 0, f"{republished} events were republished while the circuit was open")


def published_while_open(lab: Lab) -> int:
    """Events that the reconciler published while the circuit was open."""
    opened = [moment(line) for line in lab.logged(WORKER, "circuit_opened")]
    closed = [*(moment(line) for line in lab.logged(WORKER, "circuit_closed")), float("inf")]
    return sum(
        line["events"]
        for line in lab.logged(WORKER, "reconciled")
        if any(begin + ROUND_SECONDS < moment(line) < end for begin, end in zip(opened, closed, strict=False))
    )


def moment(line: dict[str, str]) -> float:
    """When a process wrote the line, in Unix seconds."""
    return datetime.fromisoformat(line["time"]).timestamp()


async def living_without_pubsub(lab: Lab) -> None:
    async with lab.broken(Mode.REFUSE, "ingress-pubsub"):
        await lab.kill("ingress")
        await lab.restart("ingress")
        answered = len(lab.answered_ids())
        await lab.until(lambda: len(lab.answered_ids()) > answered, "a call answered without Pub/Sub")
        await lab.hold(3.0)
        lab.stack.processes["ingress"].send_signal(signal.SIGTERM)
        code = await lab.until_ended("ingress")
        lab.require(code == 0, f"without Pub/Sub the ingress ended with {code}")
    await lab.restart("ingress")
    codes = {attempt.code for attempt in lab.client.attempts}
    lab.require(OK in codes, f"calls ended with {codes}")


OUTAGE_ROWS: Final = (
    Row(
        id="F57",
        title="Statsig away for half an hour at 300 times the speed (full: for a day at as much)",
        fault=days_outage,
        settings={"RECONCILE_AFTER_SECONDS": str(MINUTE), "RECONCILE_INTERVAL_SECONDS": "0.1"},
        load_share=0.25,
        load_seconds=2.0,
        expect=Expectations(drain_seconds=60),
    ),
    Row(
        id="F59",
        title="Pub/Sub away for the whole life of an ingress: started, called and stopped",
        fault=living_without_pubsub,
        tries=RESTARTS,
        load_seconds=12.0,
        expect=Expectations(attempt_failures=AWAY),
    ),
)

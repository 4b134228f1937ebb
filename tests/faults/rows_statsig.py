"""Fault rows of Statsig's answers and of foreign messages (F36 to F44)."""

import signal
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import anyio

from shared.process.fault_points import EXIT_CODE
from tests.faults.evidence import given_up_events
from tests.faults.lab import NO_FAULT_POINTS, Lab
from tests.faults.messages import message_without_row, poison_message, poisons
from tests.faults.row import IN_FLIGHT, Expectations, Fault, Row
from tests.faults.rows_worker import WORKER, at

SPOILED: Final = "spoiled"

NOBODYS_HOST: Final = "statsig.invalid"
"""A name that no resolver finds (RFC 2606)."""


def one_in(number: int) -> bool:
    return number % 100 == 50


def spoiled_names(number: int) -> str:
    return SPOILED if one_in(number) else "fault_lab"


def answering(*behaviours: Mapping[str, Any], seconds: float = 3.0) -> Fault:
    """Answers with each behaviour in turn, for an equal share of `seconds`."""

    async def fault(lab: Lab) -> None:
        for behaviour in behaviours:
            await lab.statsig(behaviour)
            await lab.hold(seconds / len(behaviours))
        await lab.statsig()

    return fault


def status(code: int, **more: Any) -> dict[str, Any]:
    return {"kind": "status", "status": code, **more}


async def failing_now_and_then(lab: Lab) -> None:
    await lab.statsig(status(500), probability=0.25)
    await lab.until_sent(1.0)
    outcomes = (await lab.statsig_stats())["outcomes"]
    lab.require(outcomes.get("500", 0) > 0, "no request failed: no fault")


async def too_many_requests(lab: Lab) -> None:
    """The requests are spaced by Retry-After, except for the first of each lane."""
    asked = 2.0
    await lab.statsig(status(429, headers={"Retry-After": "2"}))
    began = time.monotonic()
    before = await lab.requests()
    await anyio.sleep(5.0)
    made = await lab.requests() - before
    at_most = 1 + int((time.monotonic() - began) / asked)
    lab.require(made <= at_most, f"{made} requests in 5 s, {at_most} with a Retry-After of 2 s")
    await lab.statsig()


async def outcomes_lost(lab: Lab) -> None:
    await lab.statsig({"kind": "hang", "accept": True}, {"kind": "reset", "accept": True}, times=1)
    before = await lab.requests()

    async def are_used() -> bool:
        return await lab.requests() >= before + 2

    await lab.until_true(are_used, "two requests whose answer is lost")
    lab.incidents += 2


async def unresolvable(lab: Lab) -> None:
    """The worker is started with a host name that does not resolve, and later with the right address."""
    right = lab.stack.processes[WORKER].env["STATSIG_API_URL"]
    host = urlsplit(right).hostname
    assert host is not None
    await started_again(lab, right.replace(host, NOBODYS_HOST))
    before = await lab.requests()
    await lab.until(lambda: bool(circuits_opened(lab)), "an open circuit")
    await lab.hold(4.0)
    lab.require(circuits_opened(lab) == ["dns"], f"circuits opened for {circuits_opened(lab)}, not once for dns")
    lab.require(await lab.requests() == before, "requests reached Statsig by a name that nobody has")
    lab.require(not await lab.dead_letters(), "dead letters for an outage")
    lab.require(not await lab.settled(), "nothing waits: no fault")
    await started_again(lab, right)


async def started_again(lab: Lab, statsig_url: str) -> None:
    lab.stack.processes[WORKER].send_signal(signal.SIGTERM)
    code = await lab.until_ended(WORKER, 10)
    lab.require(code == 0, f"the worker ended with {code} after SIGTERM")
    await lab.restart(WORKER, {**NO_FAULT_POINTS, "STATSIG_API_URL": statsig_url})


def circuits_opened(lab: Lab) -> list[str]:
    return [line["reason"] for line in lab.logged(WORKER, "circuit_opened")]


def spoiling(code: int) -> Fault:
    async def fault(lab: Lab) -> None:
        await lab.statsig({"kind": "refuse_event", "name_contains": SPOILED, "status": code})
        await lab.until_sent(1.0)
        await lab.until_true(lab.settled, "everything settled under the fault", 60)

    return fault


async def dead_letter_unsettled(lab: Lab) -> None:
    """A worker dies between publishing a dead letter and settling it, and Statsig would take the event by then."""
    await lab.statsig({"kind": "refuse_event", "name_contains": SPOILED, "status": 400})
    code = await lab.until_ended(WORKER)
    lab.require(code == EXIT_CODE, f"the worker ended with {code} and not after it published dead letters")
    given_up = await given_up_events(lab.database)
    lab.require(bool(given_up), "nothing was given up: no fault")
    await lab.statsig()
    await lab.restart(WORKER, NO_FAULT_POINTS)
    await lab.until_sent(1.0)
    await lab.until_true(lab.settled, "everything settled", 60)
    sent = {event_id for event_id, event in (await lab.stored()).items() if event.state != "DEAD"} & given_up
    lab.require(not sent, f"{len(sent)} events were sent although they have dead letters")


async def poisoned(lab: Lab) -> None:
    chosen = list(poisons(lab.random))
    await lab.publish(poison_message(poison) for poison in chosen)
    await lab.until(
        lambda: len(lab.logged("worker-1", "message_dead_lettered")) >= len(chosen), "every poison a dead letter", 40
    )

    # Letters that a worker is collecting now are neither on the subscription nor in Spanner yet.
    async def are_kept() -> bool:
        return {poison.data for poison in chosen} <= {letter.data for letter in await lab.dead_letters()}

    await lab.until_true(are_kept, "the bytes of every poison among the dead letters", 40)


async def rowless(lab: Lab) -> None:
    await lab.publish([message_without_row()])
    await lab.until(
        lambda: len(lab.logged("worker-1", "message_dead_lettered")) >= 1, "the message without row a dead letter", 90
    )


EVERYTHING_400: Final = Expectations(dead_letters={"http_400": 20}, drain_seconds=60)
"""As many as may be dead-lettered while nothing is confirmed."""


STATSIG_ROWS: Final = (
    Row(
        id="F36a",
        title="Statsig answers 503, 500, 502",
        fault=answering(status(503), status(500), status(502), seconds=4.5),
    ),
    Row(
        id="F36b",
        title="Statsig resets connections, before and after the body",
        fault=answering({"kind": "reset", "when": "before_read"}, {"kind": "reset", "when": "after_read"}),
    ),
    Row(
        id="F36c",
        title="one request in four fails with 500",
        fault=failing_now_and_then,
        # With 3 attempts chance alone would dead-letter one suspect in 64; with production's 6 it is one in 4,096.
        settings={"BATCH_EVENTS": "20", "SUSPECT_ATTEMPTS": "6"},
        linger_seconds=8.0,
    ),
    Row(id="F36d", title="a host name for Statsig that does not resolve", fault=unresolvable, load_seconds=10.0),
    Row(
        id="F37a",
        title="429 with Retry-After: 2",
        fault=too_many_requests,
        load_seconds=10.0,
    ),
    Row(
        id="F37b",
        title="429 without Retry-After, with a date past, with nonsense",
        fault=answering(
            status(429),
            status(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
            status(429, headers={"Retry-After": "soon"}),
        ),
    ),
    Row(
        id="F38",
        title="Statsig accepts, then hangs, then resets",
        fault=outcomes_lost,
        expect=Expectations(duplicates_per_incident=IN_FLIGHT),
    ),
    Row(
        id="F39",
        title="400 for one event in a hundred",
        fault=spoiling(400),
        event_name=spoiled_names,
        expect=Expectations(dead_letters={"http_400": 20}, drain_seconds=60),
    ),
    Row(
        id="F39b",
        title="worker killed after publishing a dead letter for 400, before it settles; then Statsig takes the event",
        fault=dead_letter_unsettled,
        settings=at("after_dead_letter_publish", "exit@1"),
        event_name=spoiled_names,
        # Those of the first batch: each once by the worker that dies, and once by the next.
        expect=Expectations(dead_letters={"http_400": 40}, drain_seconds=60),
    ),
    Row(id="F40a", title="401, then 403 for everything", fault=answering(status(401), status(403))),
    Row(id="F40b", title="400 for everything", fault=answering(status(400), seconds=4.0), expect=EVERYTHING_400),
    Row(
        id="F41a",
        title="202 that says success: false and keeps nothing",
        fault=answering(status(202, body='{"success":false}', accept=False), seconds=2.0),
    ),
    Row(
        id="F41b",
        title="202 that is no JSON and keeps nothing",
        fault=answering(status(202, body="<html>proxy</html>", accept=False), seconds=2.0),
    ),
    Row(
        id="F41c",
        title="a redirect",
        fault=answering(status(302, headers={"Location": "/elsewhere"}), seconds=2.0),
    ),
    Row(
        id="F42",
        title="413 for one event in a hundred",
        fault=spoiling(413),
        event_name=spoiled_names,
        expect=Expectations(dead_letters={"http_413": 20}, drain_seconds=60),
    ),
    Row(
        id="F43",
        title="poison messages of eight kinds",
        fault=poisoned,
        expect=Expectations(dead_letters={"undecodable": 8}),
    ),
    Row(
        id="F44",
        title="a message whose row does not exist",
        fault=rowless,
        expect=Expectations(dead_letters={"row_missing": 1}),
    ),
)

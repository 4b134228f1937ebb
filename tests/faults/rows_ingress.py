"""Fault rows of the ingress: it is killed, Spanner or Pub/Sub do not answer, callers misbehave (F1 to F13, F19).

Long by the table of its rows.
"""

import signal
from typing import Final

import anyio

from deploy.local.provision import provisioner
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.faults.client import OK
from tests.faults.lab import NO_FAULT_POINTS, Lab
from tests.faults.raw_http import half_sent_request
from tests.faults.row import PUBLISH_BUDGET_MS, Expectations, Fault, Row
from tests.support.wire.tcp_proxy import Mode

RESTARTS: Final = 12
"""Attempts on a key that outlast a restart of the ingress."""

AWAY: Final = frozenset({"unavailable", "resource_exhausted"})
"""While an ingress is away its calls gather. When it is back they come at once, hundreds more than an emulator commits
within their patience; what is refused then was not written, and its caller comes again."""

STORAGE_TROUBLE: Final = frozenset({"unavailable", "deadline_exceeded", "resource_exhausted"})

PUBLISH_ONLY_DELAYS: Final = PUBLISH_BUDGET_MS + 250


async def killed_before_commit(lab: Lab) -> None:
    async with lab.broken(Mode.BLACKHOLE, "ingress-spanner"):
        await lab.hold(0.5)
        await lab.kill("ingress")
        # Bytes held by the proxy must not be committed later.
        await lab.links["ingress-spanner"].switch(Mode.RESET)
    await lab.restart("ingress")


def dying_ingress(point: str) -> Fault:
    """Crashes twice (once in a quick look) at the row's FAULT_POINTS, then runs on."""

    async def fault(lab: Lab) -> None:
        for settings in (*lab.unless_quick({"FAULT_POINTS": f"{point}=exit@8"}), NO_FAULT_POINTS):
            code = await lab.until_ended("ingress")
            lab.require(code == 137, f"the ingress ended with {code} and not at {point}")
            await lab.restart("ingress", settings)

    return fault


async def nothing(lab: Lab) -> None:
    await lab.until_sent(0.75)


async def hang_ups(lab: Lab) -> None:
    await lab.until_sent(1.0)
    stored = await lab.stored()
    answered = {attempt.key for attempt in lab.client.attempts if attempt.code == OK}
    lab.require(any(e.actor_id not in answered for e in stored.values()), "no unanswered call was committed: no fault")


async def short_deadlines(lab: Lab) -> None:
    await lab.until_sent(1.0)
    codes = {attempt.code for attempt in lab.client.attempts}
    lab.require("deadline_exceeded" in codes, "no deadline passed: no fault")


def broken(mode: Mode, *links: str, seconds: float = 2.5, delay_seconds: float = 0.1) -> Fault:
    async def fault(lab: Lab) -> None:
        async with lab.broken(mode, *links, delay_seconds=delay_seconds):
            await lab.hold(seconds)

    return fault


async def commit_answers_lost(lab: Lab) -> None:
    # The dropped answer may have been ABORTED, which the emulator answers about every fifth time.
    for _ in range(5):
        async with lab.broken(Mode.DROP_RESPONSE, "ingress-spanner"):
            await lab.hold(1.0)
        await lab.hold(0.5)
        found_by_the_call = bool(lab.logged("ingress", "commit_answer_was_lost"))
        if found_by_the_call or any(attempt.duplicate for attempt in lab.client.attempts):
            return
    lab.require(False, "no commit whose answer was dropped was found again: no fault")


async def frozen_pubsub(lab: Lab) -> None:
    frozen = [p for p in lab.stack.emulators.processes if "pub" in p.name.lower()]
    lab.require(bool(frozen), "the Pub/Sub emulator is not ours to stop")
    for process in frozen:
        process.send_signal(signal.SIGSTOP)
    await lab.hold(2.5)
    for process in frozen:
        process.send_signal(signal.SIGCONT)


async def topic_deleted(lab: Lab) -> None:
    async with provisioner(lab.stack.emulators) as admin:
        await admin.delete_topics(lab.stack.names)
        await lab.hold(2.0)
        await admin.create_topics(lab.stack.names)
    loud = lab.logged("ingress", "publish_failed")
    lab.require(bool(loud), "the ingress says nothing of a missing topic")


async def terminated(lab: Lab) -> None:
    port = int(lab.stack.ingress_url.rpartition(":")[2])
    async with half_sent_request(port):
        lab.stack.processes["ingress"].send_signal(signal.SIGTERM)
        code = await lab.until_ended("ingress", 10)
    lab.require(code == 0, f"the ingress ended with {code} after SIGTERM")
    await lab.restart("ingress")


async def one_key_at_once(lab: Lab) -> None:
    key = f"shared-{lab.client.seed}"
    same = LogEventRequest(event_name="fault_lab", actor_id=key, idempotency_key=key)
    other = LogEventRequest(event_name="fault_lab_other", actor_id=key, idempotency_key=key)
    answers: list[tuple[bool, str]] = []

    async def call(request: LogEventRequest) -> None:
        attempt = await lab.client.call(request, key=key)
        answers.append((request is same, attempt.code))

    async with anyio.create_task_group() as calls:
        for number in range(50):
            calls.start_soon(call, other if number % 10 == 9 else same)
    # The content that came first is the event; the other is refused.
    accepted = {is_same for is_same, code in answers if code == OK}
    lab.require(len(accepted) == 1, "two contents were accepted under one key")
    lab.require({code for _, code in answers} == {OK, "already_exists"}, f"answers {set(answers)}")
    lab.client.forget_failures(key)


INGRESS_ROWS: Final = (
    Row(id="F0", title="nothing (control)", fault=nothing),
    Row(
        id="F1",
        title="ingress killed before the commit",
        fault=killed_before_commit,
        tries=RESTARTS,
        expect=Expectations(attempt_failures=STORAGE_TROUBLE),
    ),
    Row(
        id="F2",
        title="ingress killed after the commit, twice",
        fault=dying_ingress("after_commit"),
        settings={"FAULT_POINTS": "after_commit=exit@8"},
        tries=RESTARTS,
        expect=Expectations(attempt_failures=AWAY),
    ),
    Row(
        id="F3",
        title="ingress killed after the publish, twice",
        fault=dying_ingress("after_publish"),
        settings={"FAULT_POINTS": "after_publish=exit@8"},
        tries=RESTARTS,
        expect=Expectations(attempt_failures=AWAY),
    ),
    Row(
        id="F4",
        title="callers hang up after 1 to 30 ms",
        fault=hang_ups,
        abandon=True,
        expect=Expectations(failures=frozenset({"abandoned"})),
    ),
    Row(
        id="F5",
        title="Connect-Timeout-Ms of 1 to 50 ms",
        fault=short_deadlines,
        deadline_seconds=lambda number: (1 + number % 50) / 1000,
        expect=Expectations(failures=frozenset({"deadline_exceeded"})),
    ),
    Row(
        id="F6a",
        title="Spanner refuses connections",
        fault=broken(Mode.REFUSE, "spanner"),
        tries=RESTARTS,
        deadline_seconds=lambda _: 3.0,
        expect=Expectations(attempt_failures=STORAGE_TROUBLE, p99_during_ms=3250),
    ),
    Row(
        id="F6b",
        title="Spanner blackholed",
        fault=broken(Mode.BLACKHOLE, "spanner"),
        tries=RESTARTS,
        deadline_seconds=lambda _: 3.0,
        expect=Expectations(attempt_failures=STORAGE_TROUBLE, p99_during_ms=3250),
    ),
    Row(
        id="F7a",
        title="Spanner 200 ms slower each way",
        fault=broken(Mode.DELAY, "spanner", delay_seconds=0.2),
        expect=Expectations(p99_during_ms=2000),
    ),
    Row(
        id="F7b",
        title="Spanner 1 s slower each way, room for 200 rows",
        fault=broken(Mode.DELAY, "ingress-spanner", delay_seconds=1.0),
        settings={"COMMIT_QUEUE_ROWS": "200"},
        tries=RESTARTS,
        expect=Expectations(attempt_failures=STORAGE_TROUBLE),
    ),
    Row(
        id="F8",
        title="answers to commits dropped",
        fault=commit_answers_lost,
        tries=RESTARTS,
        deadline_seconds=lambda _: 3.0,
        expect=Expectations(attempt_failures=STORAGE_TROUBLE),
    ),
    Row(
        id="F9",
        title="ABORTED storm: 8 commits and 4 claims at once",
        fault=nothing,
        settings={"COMMIT_CONCURRENCY": "8", "LANES": "2", "COMMIT_TIMEOUT_SECONDS": "5"},
        workers=2,
        load_seconds=14.0,
        expect=Expectations(attempt_failures=STORAGE_TROUBLE, drain_seconds=60),
    ),
    *(
        Row(
            id=f"F10{letter}",
            title=f"Pub/Sub {what} at publish",
            fault=fault,
            expect=Expectations(p99_during_ms=PUBLISH_ONLY_DELAYS),
        )
        for letter, what, fault in (
            ("a", "refuses connections", broken(Mode.REFUSE, "pubsub")),
            ("b", "blackholed", broken(Mode.BLACKHOLE, "pubsub")),
            ("c", "frozen (SIGSTOP)", frozen_pubsub),
        )
    ),
    Row(
        id="F11",
        title="answers to publishes dropped",
        fault=broken(Mode.DROP_RESPONSE, "ingress-pubsub"),
        expect=Expectations(p99_during_ms=PUBLISH_ONLY_DELAYS),
    ),
    Row(id="F12", title="topics deleted and made again", fault=topic_deleted),
    Row(
        id="F13",
        title="SIGTERM with calls in flight and half a request",
        fault=terminated,
        tries=RESTARTS,
        expect=Expectations(attempt_failures=AWAY),
    ),
    Row(
        id="F19",
        title="one key 50 times at once, five of them with other content",
        fault=one_key_at_once,
    ),
)

"""The whole way of an event as a state machine: any order of calls, crashes, outages and time, and nothing is lost.

The real use cases run over the ports' fakes. A crash is modelled as it happens: from the fault point on nothing of that
process has any effect, clean-up included.
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import hypothesis.strategies as st
import stamina
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingress.forward_publisher import ForwardPublisher
from ingress.group_commit import GroupCommitter, Limits
from ingress.normalization import Defaults
from ingress.service import EventLogging
from shared import fault_points
from shared.attempt_history import decode
from shared.errors import (
    EventLoggingError,
    PublishFailedError,
    StorageUnavailableError,
    SubscriptionUnavailableError,
)
from shared.event import ANONYMOUS
from shared.fault_points import InjectedFaultError, enable_fault_points
from shared.forward_ledger import ForwardState
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.support.histories import explains
from tests.support.manual_clock import ManualClock
from tests.support.memory_event_log import MemoryEventLogRepository, MemoryStore
from tests.support.memory_forward_ledger import MemoryForwardLedger
from tests.support.memory_pubsub import MemorySubscription, MemoryTopic
from tests.support.scripted_failures import When
from tests.support.scripted_forwarder import TIMED_OUT, UNAVAILABLE, ScriptedForwarder
from worker.circuit import Circuit
from worker.dead_letters import DeadLetters
from worker.forwarding import Fate, Forwarding
from worker.leases import Leases
from worker.operators.letters import by_subject, read_letter
from worker.operators.replaying import Job, Replaying
from worker.reconciler import Reconciler
from worker.sending import Sending
from worker.settling import Settling

CLAIM_SECONDS = 30.0
RECONCILE_AFTER_SECONDS = 60.0
SPOILER = "spoiler"
ANSWERS = {"503": UNAVAILABLE, "timeout": TIMED_OUT}
MAX_REPLAYS = 2

# One thing goes wrong in a step, and mostly none: where everything fails at once nothing gets far enough to go wrong in
# an interesting way. Steps in a row combine.
seldom = st.sampled_from([False, False, False, False, True])
ingress_troubles = st.sampled_from(
    [""] * 6 + ["after_commit", "after_publish", "commit answer lost", "publish fails", "publish answer lost"]
)
worker_troubles = st.sampled_from(
    [""] * 8
    + ["after_claim", "before_send", "after_confirm", "after_settle", "after_dead_letter_publish"]
    + ["claim", "settle_delivered", "settle_dead", "release"]
    + ["503", "timeout", "dead letter publish fails", "acknowledgement lost"]
)
replay_troubles = st.sampled_from(
    [""] * 6
    + ["replay_after_reopen", "replay_after_publish"]
    + ["reopening fails", "reopening answer lost", "publish answer lost", "acknowledgement lost"]
)
# Mostly long enough for leases, claims and backoffs to be over: a pull that finds nothing is a step for nothing.
waits = st.sampled_from([0, 5, 700, 700, 700])


class Process:
    """Ports as one process sees them: once its fault point was hit it is dead, and no call of it does anything."""

    def __init__(self, crash_at: str) -> None:
        self._crash_at = crash_at if crash_at in fault_points.NAMES else ""
        enable_fault_points({fault_points.VARIABLE: f"{crash_at}=raise"} if self._crash_at else {})

    @property
    def is_dead(self) -> bool:
        return fault_points._hits[self._crash_at] > 0

    def port(self, real: Any) -> Any:
        process = self

        class Mortal:
            def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
                async def call(*args: Any, **kwargs: Any) -> Any:
                    if process.is_dead:
                        raise InjectedFaultError(name)
                    return await getattr(real, name)(*args, **kwargs)

                return call

        return Mortal()


class EventsOnTheirWay(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()  # one loop for the whole run: the fakes' events belong to it
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.topic = MemoryTopic(self.clock)
        self.dead_topic = MemoryTopic(self.clock)
        self.subscription = MemorySubscription(
            self.topic, dead_letter_topic=self.dead_topic, max_delivery_attempts=100, minimum_backoff_seconds=1
        )
        self.dead_subscription = MemorySubscription(self.dead_topic, minimum_backoff_seconds=1)
        self.statsig = ScriptedForwarder()
        self.answered: set[str] = set()
        # Whatever is random is so in the same way each time: Hypothesis must find again what it found.
        self.circuit = Circuit(self.clock, probe_seconds=1, rng=random.Random(1))
        self.uuids = random.Random(2)
        self.shards = random.Random(3)

    # -- what may happen

    @rule(
        calls=st.sampled_from([3, 2, 1]),
        name=st.sampled_from([SPOILER, "ordinary"]),
        key=st.sampled_from(["", "", "k1", "k2"]),
        trouble=ingress_troubles,
    )
    def ingest(self, *, calls: int, name: str, key: str, trouble: str) -> None:
        process = Process(trouble)
        repository = MemoryEventLogRepository(self.store)
        if trouble == "commit answer lost":
            repository.failures.fail_next("append", StorageUnavailableError("lost"), when=When.AFTER)
        self._let_publish_fail(self.topic, trouble)

        async def call() -> None:
            async with anyio.create_task_group() as tasks:
                committer = GroupCommitter(
                    repository=process.port(repository),
                    publisher=ForwardPublisher(process.port(self.topic), self.clock),
                    limits=Limits(concurrency=1, rows=10, queue_rows=10, queue_bytes=10**6, patience_seconds=5),
                    task_group=tasks,
                )
                service = EventLogging(
                    committer=committer, clock=self.clock, defaults=Defaults(True, 65_536), new_uuid=self._new_uuid
                )
                for request in [LogEventRequest(event_name=name, idempotency_key=key)] * calls:
                    logged = await service.log(request, ANONYMOUS)
                    if not process.is_dead:
                        self.answered.add(logged.event_id)

        self._run(call)
        self.topic.failures.mend()
        self._mark_spoilers()

    @precondition(lambda self: self.subscription.backlog)
    @rule(
        after=waits,
        max_messages=st.integers(1, 8),
        trouble=worker_troubles,
        failures=st.integers(1, 3),
        when=st.sampled_from(When),
    )
    def deliver(self, *, after: float, max_messages: int, trouble: str, failures: int, when: When) -> None:
        self.clock.advance(after)
        if trouble in ANSWERS:
            self.statsig.script.append(ANSWERS[trouble])
        ledger = MemoryForwardLedger(self.store)
        if trouble in ("claim", "settle_delivered", "settle_dead", "release"):
            ledger.failures.fail_next(trouble, StorageUnavailableError("down"), times=failures, when=when)
        if trouble == "dead letter publish fails":
            self.dead_topic.failures.fail_next("publish", PublishFailedError("down"), when=when)
        self._deliver(Process(trouble), ledger, max_messages, acknowledges=trouble != "acknowledgement lost")
        self.statsig.script.clear()
        self.dead_topic.failures.mend()

    @precondition(lambda self: self._is_pending())
    @rule(crash_at=st.sampled_from(["", "reconciler_after_publish"]))
    def reconcile(self, *, crash_at: str) -> None:
        process = Process(crash_at)
        reconciler = Reconciler(
            ledger=process.port(MemoryForwardLedger(self.store)),
            publisher=process.port(self.topic),
            dead_letters=DeadLetters(process.port(self.dead_topic)),
            after_seconds=RECONCILE_AFTER_SECONDS,
            interval_seconds=1,
            events_per_second=10**9,
            rng=self.shards,
        )
        self._run(reconciler.reconcile)

    @precondition(lambda self: self.dead_subscription.backlog)
    @rule(after=waits, trouble=replay_troubles, statsig_takes_them_now=st.booleans())
    def replay(self, *, after: float, trouble: str, statsig_takes_them_now: bool) -> None:
        """An operator's, of everything that lies there."""
        self.clock.advance(after)
        process = Process(trouble)
        ledger = MemoryForwardLedger(self.store)
        if trouble.startswith("reopening"):
            when = When.BEFORE if trouble == "reopening fails" else When.AFTER
            ledger.failures.fail_next("reopen", StorageUnavailableError("down"), times=2, when=when)
        if trouble == "acknowledgement lost":
            self.dead_subscription.failures.fail_next("acknowledge", SubscriptionUnavailableError("down"))
        self._let_publish_fail(self.topic, trouble)

        async def step() -> None:
            messages = await self.dead_subscription.pull(max_messages=50, wait_seconds=0)
            leases = Leases(process.port(self.dead_subscription))
            leases.hold(messages)
            jobs = [
                Job(each.subject, each.latest.original(), each.messages)
                for each in by_subject(map(read_letter, messages))
            ]
            if statsig_takes_them_now:
                self.statsig.spoilers -= {job.event_id for job in jobs}
            replaying = Replaying(
                ledger=process.port(ledger),
                topic=process.port(self.topic),
                leases=leases,
                max_replays=MAX_REPLAYS,
                events_per_second=10**9,
            )
            try:
                await replaying.replay(jobs, lambda _: None)
            finally:
                if not process.is_dead:
                    await leases.give_back(leases.held())

        self._run(step)
        self.topic.failures.mend()
        self.dead_subscription.failures.mend()

    @rule(seconds=st.sampled_from([5, 15, CLAIM_SECONDS + 1, RECONCILE_AFTER_SECONDS + 1, 300]))
    def time_passes(self, *, seconds: float) -> None:
        """Leases and claims expire, backoffs end."""
        self.clock.advance(seconds)

    @precondition(lambda self: self.subscription.backlog)
    @rule(really=seldom)
    def pubsub_loses_every_message(self, *, really: bool) -> None:
        """A deleted or expired subscription."""
        if really:
            self.subscription._backlog.clear()

    # -- what must hold at any time

    @invariant()
    def nothing_is_settled_that_did_not_happen(self) -> None:
        dead_letters = {message.attributes["event_id"] for message in self.dead_topic.published}
        for event_id, row in self.store.ledger.items():
            if row.state == ForwardState.DELIVERED:
                assert self.statsig.taken[event_id] >= 1
            if row.state == ForwardState.DEAD:
                assert event_id in dead_letters
                assert self._is_spoiler(event_id), "a neighbour of a bad event was dead-lettered"

    @invariant()
    def what_is_dead_can_be_replayed(self) -> None:
        lying = {each.message.attributes["event_id"] for each in self.dead_subscription._backlog.values()}
        for event_id, row in self.store.ledger.items():
            assert row.state != ForwardState.DEAD or event_id in lying

    @invariant()
    def nothing_is_replayed_for_ever(self) -> None:
        assert all(row.replays <= MAX_REPLAYS for row in self.store.ledger.values())

    @invariant()
    def statsig_has_only_events_that_have_a_row(self) -> None:
        assert set(self.statsig.taken) <= set(self.store.log)

    @invariant()
    def second_copies_are_counted(self) -> None:
        for event_id, copies in self.statsig.taken.items():
            assert copies <= 1 + self.store.ledger[event_id].possible_duplicates

    @invariant()
    def the_history_explains_the_counts(self) -> None:
        for row in self.store.ledger.values():
            assert explains(decode(row.history), row.attempts, row.possible_duplicates)

    @invariant()
    def every_answered_event_has_a_row(self) -> None:
        assert self.answered <= set(self.store.log)

    def teardown(self) -> None:
        """Everything heals: whatever was answered is delivered or a dead letter, without an operator."""
        if not hasattr(self, "clock"):
            return
        # Else what is left may be all bad, and the circuit holds it back rather than believe that.
        self.statsig.spoilers.clear()
        for _ in range(50):
            if not self._is_pending():
                break
            self.clock.advance(max(RECONCILE_AFTER_SECONDS, CLAIM_SECONDS) + 1)
            self.reconcile(crash_at="")
            self.clock.advance(700)  # past every backoff
            for _ in range(1 + len(self.subscription.backlog) // 50):
                self._deliver(Process(""), MemoryForwardLedger(self.store), 50, acknowledges=True)
        dead_letters = {message.attributes["event_id"] for message in self.dead_topic.published}
        lost = {event_id for event_id in self.answered if not self.statsig.taken[event_id]} - dead_letters
        assert not lost
        assert not self._is_pending()
        self.second_copies_are_counted()
        enable_fault_points({})
        self.runner.close()

    # -- how

    def _deliver(self, process: Process, ledger: MemoryForwardLedger, max_messages: int, *, acknowledges: bool) -> None:
        port = process.port(ledger)
        forwarding = Forwarding(
            ledger=port,
            sending=Sending(
                forwarder=self.statsig,
                circuit=self.circuit,
                clock=self.clock,
                stopping=anyio.Event(),
                budget_seconds=0,
                attempt_seconds=1,
            ),
            settling=Settling(port, self.clock),
            dead_letters=DeadLetters(process.port(self.dead_topic)),
            circuit=self.circuit,
            clock=self.clock,
            claim_seconds=CLAIM_SECONDS,
        )

        async def step() -> None:
            messages = await self.subscription.pull(max_messages=max_messages, wait_seconds=0)
            fates = await forwarding.forward(messages)
            done = [message for message in messages if fates[message.ack_id] is Fate.DONE]
            for message in done:
                ledger_row = self.store.ledger[message.attributes["event_id"]]
                assert ledger_row.state != ForwardState.PENDING, "acknowledged before it was settled"
            if not process.is_dead and acknowledges:
                await self.subscription.acknowledge([message.ack_id for message in done])

        self._run(step)

    def _run(self, call: Callable[[], Awaitable[Any]]) -> None:
        async def guarded() -> None:
            try:
                await call()
            except* (EventLoggingError, InjectedFaultError):
                pass  # a refused call, or a process that died

        with stamina.set_testing(True, attempts=2):  # no waiting between tries
            self.runner.run(guarded())

    def _let_publish_fail(self, topic: MemoryTopic, trouble: str) -> None:
        if trouble.startswith("publish"):
            when = When.BEFORE if trouble == "publish fails" else When.AFTER
            topic.failures.fail_next("publish", PublishFailedError("down"), when=when)

    def _mark_spoilers(self) -> None:
        self.statsig.spoilers |= {event_id for event_id in self.store.log if self._is_spoiler(event_id)}

    def _new_uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.uuids.getrandbits(128), version=4)

    def _is_pending(self) -> bool:
        return any(row.state == ForwardState.PENDING for row in self.store.ledger.values())

    def _is_spoiler(self, event_id: str) -> bool:
        return self.store.log[event_id].event.event_name == SPOILER


EventsOnTheirWay.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
test_events_on_their_way = EventsOnTheirWay.TestCase

"""The whole way of an event as a state machine: any order of calls, crashes, outages and time, and nothing is lost.

The real use cases run over the ports' fakes. A crash is modelled as it happens: from the fault point on nothing of that
process has any effect, clean-up included.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import hypothesis.strategies as st
import stamina
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

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
from tests.support.scripted_forwarder import CONFIRMED, TIMED_OUT, UNAVAILABLE, ScriptedForwarder
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
MAX_REPLAYS = 2

# Mostly healthy: where everything fails at once nothing gets far enough to go wrong in an interesting way.
seldom = st.sampled_from([False, False, False, False, True])
ingress_crashes = st.sampled_from(["", "", "", "", "after_commit", "after_publish"])
worker_crashes = st.sampled_from(
    ["", "", "", "after_claim", "before_send", "after_confirm", "after_settle", "after_dead_letter_publish"]
)
ledger_failures = st.sampled_from(["", "", "", "", "", "", "claim", "settle_delivered", "settle_dead", "release"])


class Process:
    """Ports as one process sees them: once its fault point was hit it is dead, and no call of it does anything."""

    def __init__(self, crash_at: str) -> None:
        enable_fault_points({fault_points.VARIABLE: f"{crash_at}=raise"} if crash_at else {})
        self._crash_at = crash_at

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
        self.circuit = Circuit(self.clock, probe_seconds=1, rng=random.Random(1))

    # -- what may happen

    @rule(
        name=st.sampled_from(["ordinary", "ordinary", SPOILER]),
        key=st.sampled_from(["", "", "k1", "k2"]),
        crash_at=ingress_crashes,
        commit_answer_lost=seldom,
        publish_fails=st.sampled_from([None, None, None, None, When.BEFORE, When.AFTER]),
    )
    def ingest(self, name: str, key: str, crash_at: str, commit_answer_lost: bool, publish_fails: When | None) -> None:
        process = Process(crash_at)
        repository = MemoryEventLogRepository(self.store)
        if commit_answer_lost:
            repository.failures.fail_next("append", StorageUnavailableError("lost"), when=When.AFTER)
        if publish_fails:
            self.topic.failures.fail_next("publish", PublishFailedError("down"), when=publish_fails)

        async def call() -> None:
            async with anyio.create_task_group() as tasks:
                committer = GroupCommitter(
                    repository=process.port(repository),
                    publisher=ForwardPublisher(process.port(self.topic), self.clock),
                    limits=Limits(concurrency=1, rows=10, queue_rows=10, queue_bytes=10**6, patience_seconds=5),
                    task_group=tasks,
                )
                service = EventLogging(committer=committer, clock=self.clock, defaults=Defaults(True, 65_536))
                logged = await service.log(LogEventRequest(event_name=name, idempotency_key=key), ANONYMOUS)
                if not process.is_dead:
                    self.answered.add(logged.event_id)

        self._run(call)
        self.topic.failures.mend()
        self._mark_spoilers()

    @rule(
        max_messages=st.integers(1, 8),
        crash_at=worker_crashes,
        ledger_fails=ledger_failures,
        failures=st.integers(1, 3),
        when=st.sampled_from(When),
        answer=st.sampled_from([CONFIRMED, CONFIRMED, CONFIRMED, UNAVAILABLE, TIMED_OUT]),
        dead_letter_publish_fails=seldom,
        loses_acknowledgements=seldom,
    )
    def deliver(
        self,
        *,
        max_messages: int,
        crash_at: str,
        ledger_fails: str,
        failures: int,
        when: When,
        answer: Any,
        dead_letter_publish_fails: bool,
        loses_acknowledgements: bool,
    ) -> None:
        if answer is not CONFIRMED:
            self.statsig.script.append(answer)
        ledger = MemoryForwardLedger(self.store)
        if ledger_fails:
            ledger.failures.fail_next(ledger_fails, StorageUnavailableError("down"), times=failures, when=when)
        if dead_letter_publish_fails:
            self.dead_topic.failures.fail_next("publish", PublishFailedError("down"))
        self._deliver(Process(crash_at), ledger, max_messages, acknowledges=not loses_acknowledgements)
        self.statsig.script.clear()
        self.dead_topic.failures.mend()

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
        )
        self._run(reconciler.reconcile)

    @rule(
        crash_at=st.sampled_from(["", "", "replay_after_reopen", "replay_after_publish"]),
        statsig_takes_it_now=st.booleans(),
        reopening_fails=st.sampled_from([None, None, None, *When]),
        publish_fails=seldom,
        loses_acknowledgements=seldom,
    )
    def replay(
        self,
        *,
        crash_at: str,
        statsig_takes_it_now: bool,
        reopening_fails: When | None,
        publish_fails: bool,
        loses_acknowledgements: bool,
    ) -> None:
        """An operator's, of everything that lies there."""
        if statsig_takes_it_now:
            self.statsig.spoilers.clear()
        process = Process(crash_at)
        ledger = MemoryForwardLedger(self.store)
        if reopening_fails:
            ledger.failures.fail_next("reopen", StorageUnavailableError("down"), when=reopening_fails)
        if publish_fails:
            self.topic.failures.fail_next("publish", PublishFailedError("down"), when=When.AFTER)
        if loses_acknowledgements:
            self.dead_subscription.failures.fail_next("acknowledge", SubscriptionUnavailableError("down"))

        async def step() -> None:
            messages = await self.dead_subscription.pull(max_messages=50, wait_seconds=0)
            leases = Leases(process.port(self.dead_subscription))
            leases.hold(messages)
            jobs = [
                Job(each.subject, each.latest.original(), each.messages)
                for each in by_subject(map(read_letter, messages))
            ]
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

        with stamina.set_testing(True, attempts=2):  # no waiting between tries
            self._run(step)
        self.topic.failures.mend()
        self.dead_subscription.failures.mend()

    @rule(seconds=st.sampled_from([5, 15, CLAIM_SECONDS + 1, RECONCILE_AFTER_SECONDS + 1, 300]))
    def time_passes(self, *, seconds: float) -> None:
        """Leases and claims expire, backoffs end."""
        self.clock.advance(seconds)

    @rule()
    def pubsub_loses_every_message(self) -> None:
        """A deleted or expired subscription."""
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
        for _ in range(50):
            if all(row.state != ForwardState.PENDING for row in self.store.ledger.values()):
                break
            self.clock.advance(max(RECONCILE_AFTER_SECONDS, CLAIM_SECONDS) + 1)
            self.reconcile(crash_at="")
            self.clock.advance(700)  # past every backoff
            for _ in range(1 + len(self.subscription.backlog) // 50):
                self._deliver(Process(""), MemoryForwardLedger(self.store), 50, acknowledges=True)
        dead_letters = {message.attributes["event_id"] for message in self.dead_topic.published}
        lost = {event_id for event_id in self.answered if not self.statsig.taken[event_id]} - dead_letters
        assert not lost
        assert all(row.state != ForwardState.PENDING for row in self.store.ledger.values())
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
            settling=Settling(port, patience_seconds=0.001),
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

        self.runner.run(guarded())

    def _mark_spoilers(self) -> None:
        self.statsig.spoilers |= {event_id for event_id in self.store.log if self._is_spoiler(event_id)}

    def _is_spoiler(self, event_id: str) -> bool:
        return self.store.log[event_id].event.event_name == SPOILER


EventsOnTheirWay.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
test_events_on_their_way = EventsOnTheirWay.TestCase

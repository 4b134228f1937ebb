"""The whole way of an event as a state machine: any order of calls, crashes, outages and time, and nothing is lost.

The real use cases run over the ports' fakes. A crash is modelled as it happens: after the fault point no call of that
process has an effect, not even clean-up. One module, although a long one: the rules and invariants of a state machine
are one class.
"""

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

import anyio
import hypothesis.strategies as st
import pytest
import stamina
import structlog
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingress.callers.rate_limits import CallerRates
from ingress.commit.forward_publisher import ForwardPublisher
from ingress.commit.group_commit import GroupCommitter, Limits
from ingress.normalization import Defaults
from ingress.service import EventLogging
from shared.errors import (
    EventLoggingError,
    PublishFailedError,
    StorageUnavailableError,
    SubscriptionUnavailableError,
)
from shared.events.attempt_history import decode
from shared.events.dead_letter_table import LetterChoice
from shared.events.event import ANONYMOUS, Event
from shared.events.forward_ledger import ForwardState
from shared.events.rules import Match, Rule, RuleAction
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from shared.process.current_rules import CurrentRules
from shared.process.fault_points import InjectedFaultError, enable_fault_points
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_dead_letter_table import MemoryDeadLetterTable
from tests.support.fakes.memory_event_log import MemoryEventLogRepository, MemoryStore
from tests.support.fakes.memory_forward_ledger import MemoryForwardLedger
from tests.support.fakes.memory_pubsub import MemorySubscription, MemoryTopic
from tests.support.fakes.memory_replay_ledger import MemoryReplayLedger
from tests.support.fakes.memory_republish_ledger import MemoryRepublishLedger
from tests.support.fakes.memory_rules import MemoryRuleTable
from tests.support.fakes.model_worker import CLAIM_SECONDS, CONFIRMED, AdverseStatsig, ModelWorker, Mood, Process
from tests.support.fakes.scripted_failures import When
from tests.support.histories import explains
from tests.support.sample_rules import AUDIT, sample_rule
from worker.dead_letter_collector import DeadLetterCollector
from worker.dead_letter_publisher import DeadLetterPublisher
from worker.disposition import DONE
from worker.operators.dead_letters.replay_job import Job, Replaying
from worker.reconciler import Reconciler
from worker.ruling import RULE_REASON
from worker.statsig.outcome import SendOutcome, SendVerdict
from worker.sweeping import Sweeping

RECONCILE_AFTER_SECONDS = 60.0
POISONED = "poisoned"
NAMES = (POISONED, "ordinary", "another")
MAX_REPLAYS = 2
WORKERS = 2
SHARDS = 4
"""Of the ledger's indexes: a round of the reconciler goes through all of them, and most steps are such a round."""

# One thing goes wrong in a step, and mostly none: where everything fails at once nothing gets far enough to go wrong in
# an interesting way. Steps in a row combine.
seldom = st.sampled_from([False, False, False, False, True])
ingress_troubles = st.sampled_from(
    [""] * 6 + ["after_commit", "after_publish", "commit answer lost", "publish fails", "publish answer lost"]
)
worker_troubles = st.sampled_from(
    [""] * 8
    + ["before_send@2", "before_send@3", "after_confirm@2", "after_settle@2"]
    + ["after_claim", "before_send", "after_confirm", "after_settle", "after_give_up"]
    + ["after_dead_letter_publish"]
    + ["claim", "note", "give_up", "settle_delivered", "settle_dead", "release"]
    + ["dead letter publish fails", "acknowledgement lost"]
)
replay_troubles = st.sampled_from(
    [""] * 6
    + ["replay_after_reopen", "replay_after_publish"]
    + ["reopening fails", "reopening answer lost", "publish answer lost"]
)
collector_troubles = st.sampled_from(
    [""] * 4 + ["after_collect", "collecting fails", "collecting answer lost", "acknowledgement lost"]
)
SWEEP_TROUBLES = ("sweep_after_begin", "sweep_before_end", "reconciler_after_mark", "reconciler_after_publish")
names = st.sampled_from(NAMES)
heard = st.sampled_from([[0, 1], [0, 1], [0], [1], []])
# Mostly long enough for leases, claims and backoffs to be over: a pull that finds nothing is a step for nothing.
waits = st.sampled_from([0, 5, 700, 700, 700])
# Everything that Statsig or a proxy may say, whatever a request carries. Whether it was kept is drawn apart.
answers = st.sampled_from(
    [
        CONFIRMED,
        *(SendOutcome(SendVerdict.AMBIGUOUS, status, f"http_{status}") for status in (408, 409, 500, 503, 524)),
        SendOutcome(SendVerdict.AMBIGUOUS, None, "timeout"),
        SendOutcome(SendVerdict.AMBIGUOUS, None, "unreadable_answer"),
        *(SendOutcome(SendVerdict.REJECTED, status, f"http_{status}") for status in (400, 413, 422)),
        *(SendOutcome(SendVerdict.REFUSED, status, f"http_{status}") for status in (401, 404)),
        SendOutcome(SendVerdict.TRANSIENT, 429, "http_429"),
        SendOutcome(SendVerdict.TRANSIENT, None, "connection_refused"),
    ]
)
mood = st.builds(Mood, answers, st.booleans())
# Mostly it is itself. A mood that lasts is an outage.
moods = st.one_of(
    st.just([]), st.lists(mood, max_size=6), st.builds(lambda one, times: [one] * times, mood, st.just(6))
)
failures = st.sampled_from([1, 3])  # one is made good by the next try, three are not


@lru_cache(maxsize=10_000)
def is_explained(history: tuple[str, ...], attempts: int, possible_duplicates: int) -> bool:
    """Asked of every row after every step, of which few have changed."""
    return explains(decode(history), attempts, possible_duplicates)


class EventsOnTheirWay(RuleBasedStateMachine):
    # No event makes a connection be refused, and what is refused so is tried whole for as long as the budget lasts.
    @initialize(poison=answers.filter(lambda a: a.verdict not in (SendVerdict.CONFIRMED, SendVerdict.TRANSIENT)))
    def start(self, *, poison: SendOutcome) -> None:
        self.runner = asyncio.Runner()  # one loop for the whole run: the fakes' events belong to it
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock, shards=SHARDS)
        self.topic = MemoryTopic(self.clock)
        self.dead_topic = MemoryTopic(self.clock)
        self.subscription = MemorySubscription(
            self.topic, dead_letter_topic=self.dead_topic, max_delivery_attempts=100, minimum_backoff_seconds=1
        )
        self.dead_subscription = MemorySubscription(self.dead_topic, minimum_backoff_seconds=1)
        self.statsig = AdverseStatsig(given_up=self._given_up)
        self.answered: set[str] = set()
        self.poisoned_so_far: set[str] = set()
        self.poison = poison
        # Whatever is random is so in the same way each time: Hypothesis must find again what it found.
        self.rule_table = MemoryRuleTable(self.store)
        self.workers = [
            ModelWorker(statsig=self.statsig, clock=self.clock, rule_table=self.rule_table, seed=n)
            for n in range(WORKERS)
        ]
        for worker in self.workers:
            self._run(worker.rules.load)
        self.uuids = random.Random(2)
        self.shards = random.Random(3)

    # -- what may happen

    @rule(
        calls=st.sampled_from([3, 2, 1]),
        name=names,
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
                    publisher=ForwardPublisher(
                        process.port(self.topic), self.clock, task_group=tasks, gather_seconds=0
                    ),
                    limits=Limits(concurrency=1, rows=10, queue_rows=10, queue_bytes=10**6, patience_seconds=5),
                    task_group=tasks,
                )
                service = EventLogging(
                    committer=committer,
                    rates=CallerRates(None, self.clock),
                    clock=self.clock,
                    rules=CurrentRules(MemoryRuleTable(MemoryStore(self.clock)), self.clock),
                    defaults=Defaults(True, 65_536),
                    new_uuid=self._new_uuid,
                )
                for request in [LogEventRequest(event_name=name, idempotency_key=key)] * calls:
                    logged = await service.log(request, ANONYMOUS)
                    if not process.is_dead:
                        self.answered.add(logged.event_id)

        self._run(call)
        self.topic.failures.mend()
        self._poison()

    @precondition(lambda self: self.subscription.backlog)
    @rule(
        worker=st.integers(0, WORKERS - 1),
        after=waits,
        max_messages=st.integers(1, 12),
        moods=moods,
        trouble=worker_troubles,
        failures=failures,
        when=st.sampled_from(When),
    )
    def deliver(
        self,
        *,
        worker: int,
        after: float,
        max_messages: int,
        moods: list[Mood],
        trouble: str,
        failures: int,
        when: When,
    ) -> None:
        self.clock.advance(after)
        self.statsig.moods = list(moods)
        self._work(self.workers[worker], max_messages, trouble=trouble, failures=failures, when=when)
        self.statsig.moods = []

    @precondition(lambda self: any(worker.aside or len(worker.untried) for worker in self.workers))
    @rule(
        worker=st.integers(0, WORKERS - 1),
        after=st.sampled_from([0, 5, 5, 11, 700]),
        moods=moods,
        trouble=worker_troubles,
        failures=failures,
        when=st.sampled_from(When),
    )
    def try_alone(
        self, *, worker: int, after: float, moods: list[Mood], trouble: str, failures: int, when: When
    ) -> None:
        """A trial of whatever that worker has set aside longest."""
        if not self.workers[worker].aside and not len(self.workers[worker].untried):
            return
        self.clock.advance(after)
        self.statsig.moods = list(moods[:1])
        self._work(self.workers[worker], 0, trouble=trouble, failures=failures, when=when)
        self.statsig.moods = []

    @precondition(lambda self: self._is_pending())
    @rule(crash_at=st.sampled_from(["", "", "reconciler_after_mark", "reconciler_after_publish"]))
    def reconcile(self, *, crash_at: str) -> None:
        process = Process(crash_at)

        async def step() -> None:
            reconciler = self._reconciler(
                process, is_resting=lambda: process.is_dead, after_seconds=RECONCILE_AFTER_SECONDS
            )
            await reconciler.reconcile()

        self._run(step)

    @precondition(lambda self: self.dead_subscription.backlog)
    @rule(after=waits, max_messages=st.integers(1, 12), trouble=collector_troubles)
    def collect(self, *, after: float, max_messages: int, trouble: str) -> None:
        self.clock.advance(after)
        process = Process(trouble)
        table = MemoryDeadLetterTable(self.store)
        if trouble.startswith("collecting"):
            when = When.BEFORE if trouble == "collecting fails" else When.AFTER
            table.failures.fail_next("collect", StorageUnavailableError("down"), when=when)
        if trouble == "acknowledgement lost":
            self.dead_subscription.failures.fail_next("acknowledge", SubscriptionUnavailableError("down"))

        async def step() -> None:
            messages = await self.dead_subscription.pull(max_messages=max_messages, wait_seconds=0)
            stopping = anyio.Event()
            stopping.set()  # so that no pause is made
            collector = DeadLetterCollector(
                subscription=process.port(self.dead_subscription), table=process.port(table), stopping=stopping
            )
            await collector.store(messages)

        self._run(step)
        self.dead_subscription.failures.mend()

    @precondition(lambda self: self._can_be_replayed())
    @rule(after=waits, trouble=replay_troubles, statsig_takes_them_now=st.booleans(), from_rows=st.booleans())
    def replay(self, *, after: float, trouble: str, statsig_takes_them_now: bool, from_rows: bool) -> None:
        """An operator's, of everything that is open, and with `from_rows` of what is dead without a letter."""
        self.clock.advance(after)
        process = Process(trouble)
        ledger = MemoryReplayLedger(self.store)
        letters = MemoryDeadLetterTable(self.store)
        if trouble.startswith("reopening"):
            when = When.BEFORE if trouble == "reopening fails" else When.AFTER
            ledger.failures.fail_next("reopen", StorageUnavailableError("down"), times=2, when=when)
        self._let_publish_fail(self.topic, trouble)

        async def step() -> None:
            jobs = [Job(each.subject) for each in await letters.open(LetterChoice(), limit=50)]
            if from_rows:
                jobs += [Job(each, from_row=True) for each in await letters.dead_without_letter(limit=50)]
            if statsig_takes_them_now:
                for job in jobs:
                    self.statsig.poisoned_by.pop(job.event_id, None)
            replaying = Replaying(
                ledger=process.port(ledger),
                letters=process.port(letters),
                topic=process.port(self.topic),
                max_replays=MAX_REPLAYS,
                events_per_second=10**9,
            )
            await replaying.replay(jobs, lambda _: None)

        self._run(step)
        self.topic.failures.mend()

    @rule(seconds=st.sampled_from([5, 15, CLAIM_SECONDS + 1, RECONCILE_AFTER_SECONDS + 1, 300]))
    def time_passes(self, *, seconds: float) -> None:
        """Leases and claims expire, backoffs end."""
        self.clock.advance(seconds)

    @rule(action=st.sampled_from([RuleAction.HOLD, RuleAction.DEAD_LETTER]), name=names, heard_by=heard)
    def an_operator_adds_a_rule(self, *, action: RuleAction, name: str, heard_by: list[int]) -> None:
        made = sample_rule(action, now=self.clock.now(), match=Match(event_name=name), rule_id=str(self._new_uuid()))
        self._run(partial(self.rule_table.add, [made], AUDIT))
        self._hear(heard_by)

    @precondition(lambda self: any(rule.is_active(self.clock.now()) for rule in self.store.rules.values()))
    @rule(heard_by=heard)
    def an_operator_removes_the_oldest_rule(self, *, heard_by: list[int]) -> None:
        oldest = next(rule for rule in self.store.rules.values() if rule.is_active(self.clock.now()))
        self._run(partial(self.rule_table.remove, [oldest.rule_id], "bob", AUDIT))
        self._hear(heard_by)

    @rule(heard_by=heard)
    def workers_read_the_rules(self, *, heard_by: list[int]) -> None:
        self._hear(heard_by)

    @precondition(lambda self: self._can_be_swept())
    @rule(worker=st.integers(0, WORKERS - 1), crash_at=st.sampled_from(["", "", *SWEEP_TROUBLES]))
    def sweep(self, *, worker: int, crash_at: str) -> None:
        self._hear([worker])
        process = Process(crash_at)

        def new_round(chosen: Callable[[Event], bool], is_resting: Callable[[], bool]) -> Reconciler:
            return self._reconciler(process, is_resting=is_resting, after_seconds=0.0, force=True, chosen=chosen)

        sweeping = Sweeping(
            table=process.port(self.rule_table),
            rules=self.workers[worker].rules,
            new_round=new_round,
            is_resting=lambda: process.is_dead,
        )
        self._run(sweeping.sweep_due)
        if process.is_dead:
            self._restart(self.workers[worker])

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
                assert self.statsig.has[event_id] >= 1
            if row.state == ForwardState.DEAD:
                assert event_id in dead_letters
                if row.last_reason != RULE_REASON:
                    assert self.statsig.failed_alone[event_id], "a neighbour of a bad event was dead-lettered"
                else:
                    name = self.store.log[event_id].event.event_name
                    assert any(rule.match.event_name == name for rule in self._rules_with(RuleAction.DEAD_LETTER))

    @invariant()
    def what_is_given_up_is_not_sent(self) -> None:
        assert not self.statsig.sent_though_given_up

    @invariant()
    def what_is_settled_is_no_longer_given_up(self) -> None:
        assert all(self.store.ledger[event_id].state == ForwardState.PENDING for event_id in self._given_up())

    @invariant()
    def what_is_dead_can_be_replayed(self) -> None:
        lying = {each.message.attributes["event_id"] for each in self.dead_subscription._backlog.values()}
        lying |= {subject for (subject, _), letter in self.store.letters.items() if letter.is_open}
        for event_id, row in self.store.ledger.items():
            assert row.state != ForwardState.DEAD or event_id in lying

    @invariant()
    def of_one_event_one_letter_is_open(self) -> None:
        subjects = [subject for (subject, _), letter in self.store.letters.items() if letter.is_open]
        assert len(subjects) == len(set(subjects))

    @invariant()
    def every_letter_is_kept_or_lies_there(self) -> None:
        kept = {message_id for _, message_id in self.store.letters}
        lying = {each.message_id for each in self.dead_subscription._backlog.values()}
        assert len(kept | lying) == len(self.dead_topic.published)

    @invariant()
    def nothing_is_replayed_for_ever(self) -> None:
        assert all(row.replays <= MAX_REPLAYS for row in self.store.ledger.values())

    @invariant()
    def statsig_has_only_events_that_have_a_row(self) -> None:
        assert set(self.statsig.has) <= set(self.store.log)

    @invariant()
    def second_copies_are_counted(self) -> None:
        for event_id, copies in self.statsig.has.items():
            assert copies <= 1 + self.store.ledger[event_id].possible_duplicates

    @invariant()
    def the_history_explains_the_counts(self) -> None:
        for row in self.store.ledger.values():
            assert is_explained(tuple(row.history or ()), row.attempts, row.possible_duplicates)

    @invariant()
    def every_answered_event_has_a_row(self) -> None:
        assert self.answered <= set(self.store.log)

    def teardown(self) -> None:
        """Everything heals: whatever was answered is delivered or a dead letter, without an operator."""
        if not hasattr(self, "clock"):
            return
        self._run(partial(self.rule_table.remove, list(self.store.rules), "bob", AUDIT))
        self._hear(range(WORKERS))
        # Else what is left may be all bad, and the circuits hold it back rather than believe that.
        self.statsig.poisoned_by.clear()
        for _ in range(50):
            if not self._is_pending():
                break
            self.clock.advance(RECONCILE_AFTER_SECONDS * 360 + 1)  # past every interval, claim, wait and backoff
            self.reconcile(crash_at="")
            for worker in self.workers:
                for _ in range(2 + len(self.subscription.backlog) // 50):
                    self._work(worker, 50)
                for _ in range(len(worker.aside) + len(worker.untried)):
                    if worker.aside or len(worker.untried):
                        self._work(worker, 0)
        dead_letters = {message.attributes["event_id"] for message in self.dead_topic.published}
        lost = {event_id for event_id in self.answered if not self.statsig.has[event_id]} - dead_letters
        assert not lost
        assert not self._is_pending()
        self.second_copies_are_counted()
        enable_fault_points({})
        self.runner.close()

    # -- how

    def _work(
        self,
        worker: ModelWorker,
        max_messages: int,
        *,
        trouble: str = "",
        failures: int = 1,
        when: When = When.BEFORE,
    ) -> None:
        """One batch of a worker, or one trial where `max_messages` is 0."""
        process = Process(trouble)
        ledger = MemoryForwardLedger(self.store)
        if trouble in ("claim", "note", "give_up", "settle_delivered", "settle_dead", "release"):
            ledger.failures.fail_next(trouble, StorageUnavailableError("down"), times=failures, when=when)
        if trouble == "dead letter publish fails":
            self.dead_topic.failures.fail_next("publish", PublishFailedError("down"), when=when)
        forwarding = worker.forwarding(process, ledger, self.dead_topic)

        async def step() -> None:
            if max_messages:
                probe = worker.circuit.open_reason is not None
                restored = [] if probe else worker.untried.take_restored(max_messages)
                pulled = await self.subscription.pull(max_messages=1 if probe else max_messages, wait_seconds=0)
                messages = restored + pulled
                dispositions = await forwarding.forward(messages)
            else:
                messages = [worker.aside.pop(0) if worker.aside else worker.untried.take_for_trial()]
                dispositions = await forwarding.try_alone(messages)
            worker.set_aside(messages, dispositions)
            done = [message for message in messages if dispositions[message.ack_id] in DONE]
            for message in done:
                ledger_row = self.store.ledger[message.attributes["event_id"]]
                event = self.store.log[ledger_row.event_id].event
                is_held = worker.rules.are_fresh and worker.rules.active.first(RuleAction.HOLD, event) is not None
                assert is_held or ledger_row.state != ForwardState.PENDING, "acknowledged before it was settled"
            if not process.is_dead and trouble != "acknowledgement lost":
                await self.subscription.acknowledge([message.ack_id for message in done])

        self._run(step)
        self.dead_topic.failures.mend()
        if process.is_dead:
            self._restart(worker)

    def _restart(self, worker: ModelWorker) -> None:
        worker.start()
        self._run(worker.rules.load)

    def _hear(self, workers: Iterable[int]) -> None:
        """These workers read the rules; the others go on with what they knew."""
        for worker in workers:
            self._run(self.workers[worker].rules.load)

    def _reconciler(self, process: Process, **options: Any) -> Reconciler:
        return Reconciler(
            ledger=process.port(MemoryForwardLedger(self.store)),
            republish_ledger=process.port(MemoryRepublishLedger(self.store)),
            publisher=process.port(self.topic),
            dead_letters=DeadLetterPublisher(process.port(self.dead_topic)),
            interval_seconds=1,
            events_per_second=10**9,
            shards=SHARDS,
            rng=self.shards,
            **options,
        )

    def _rules_with(self, action: RuleAction) -> list[Rule]:
        return [rule for rule in self.store.rules.values() if rule.action is action]

    def _can_be_swept(self) -> bool:
        return any(rule.sweep_at is not None and rule.swept_at is None for rule in self.store.rules.values())

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

    def _poison(self) -> None:
        for event_id, logged in self.store.log.items():
            if logged.event.event_name == POISONED and event_id not in self.poisoned_so_far:
                self.statsig.poisoned_by[event_id] = self.poison
        self.poisoned_so_far |= set(self.store.log)

    def _new_uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.uuids.getrandbits(128), version=4)

    def _can_be_replayed(self) -> bool:
        has_open = any(letter.is_open for letter in self.store.letters.values())
        return has_open or any(row.state == ForwardState.DEAD for row in self.store.ledger.values())

    def _given_up(self) -> set[str]:
        return {event_id for event_id, row in self.store.ledger.items() if row.given_up_reason is not None}

    def _is_pending(self) -> bool:
        return any(row.state == ForwardState.PENDING for row in self.store.ledger.values())


class MoreEventsOnTheirWay(EventsOnTheirWay):
    """The second quarter of the examples: the tests run side by side, and each stays within a test's time."""


class OtherEventsOnTheirWay(EventsOnTheirWay):
    """The third quarter."""


class LastEventsOnTheirWay(EventsOnTheirWay):
    """The last quarter."""


MACHINES = (EventsOnTheirWay, MoreEventsOnTheirWay, OtherEventsOnTheirWay, LastEventsOnTheirWay)

for _number, _machine in enumerate(MACHINES, start=1):
    if settings.default is not None and settings.default.derandomize:  # as with CI set: else all would draw the same
        seed(_number)(_machine)
    _machine.TestCase.settings = settings(
        max_examples=50, stateful_step_count=150, deadline=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture
def without_log() -> Iterator[None]:
    """Nobody reads it, and the traces of processes that died take longer to print than the rest."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


test_events_on_their_way = pytest.mark.usefixtures("without_log")(EventsOnTheirWay.TestCase)
test_more_events_on_their_way = pytest.mark.usefixtures("without_log")(MoreEventsOnTheirWay.TestCase)
test_last_events_on_their_way = pytest.mark.usefixtures("without_log")(LastEventsOnTheirWay.TestCase)
test_other_events_on_their_way = pytest.mark.usefixtures("without_log")(OtherEventsOnTheirWay.TestCase)

"""A worker's parts wired as worker/runtime.py wires them, over the fakes."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from shared.events import forward_message
from shared.events.event import Event
from shared.process.current_rules import CurrentRules
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_event_log import LedgerRow, MemoryEventLogRepository, MemoryStore
from tests.support.fakes.memory_forward_ledger import MemoryForwardLedger
from tests.support.fakes.memory_pubsub import MemorySubscription, MemoryTopic
from tests.support.fakes.memory_rules import MemoryRuleTable
from tests.support.fakes.scripted_failures import ScriptedFailures
from tests.support.fakes.scripted_forwarder import ScriptedForwarder
from tests.support.sample_events import sample_event, sample_row
from worker.backlog_position import BacklogPosition
from worker.circuit import FAILURES_TO_OPEN, Circuit
from worker.dead_letter_publisher import PREFIX, DeadLetterPublisher
from worker.dead_lettering import DeadLettering
from worker.forwarding import Forwarding
from worker.held_messages import HeldMessages
from worker.lane_turns import LaneTurns
from worker.leases import Leases
from worker.poison import PoisonDetector
from worker.prefetch import Prefetcher
from worker.pull_loop import PullLoop
from worker.sending import Sending
from worker.settling import Settling
from worker.statsig.requests import RequestSize
from worker.subscription import ReceivedMessage
from worker.suspects import Suspects

PROBE_SECONDS = 0.02
"""Short: a circuit that waits reads the manual clock only after this much real time."""

ATTEMPT_SECONDS = 20.0


class TickingClock(ManualClock):
    """Advances by a microsecond each time it is read, so that what happens first is also earlier."""

    def monotonic(self) -> float:
        self.nanos += 1000
        return super().monotonic()


class FixedRandom(random.Random):
    """Returns the same share of the way from the lower to the upper bound each time; `bounds` keeps the calls."""

    def __init__(self, share: float = 0.0) -> None:
        super().__init__(0)
        self.share = share
        self.bounds: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.bounds.append((a, b))
        return a + self.share * (b - a)


class WorkerWorld:
    """All parts of one worker process. The fakes of ledger, dead letters, subscription and Statsig share `journal`."""

    def __init__(
        self,
        *,
        budget_seconds: float = 20.0,
        claim_seconds: float = 90.0,
        suspect_attempts: int = 6,
        suspect_backoff_seconds: float = 15.0,
        turns: int = 2,
        pulls: int = 2,
        pull_messages: int = 500,
        prefetch_messages: int = 500,
        clock: ManualClock | None = None,
    ) -> None:
        self.budget_seconds = budget_seconds
        self.claim_seconds = claim_seconds
        self.suspect_attempts = suspect_attempts
        self.suspect_backoff_seconds = suspect_backoff_seconds
        self.turns_at_once = turns
        self.pulls = pulls
        self.pull_messages = pull_messages
        self.prefetch_messages = prefetch_messages
        self.clock = clock or ManualClock()
        self.store = MemoryStore(self.clock)
        self.journal: list[str] = []
        self.repository = MemoryEventLogRepository(self.store)
        self.ledger = MemoryForwardLedger(self.store, failures=ScriptedFailures(self.journal))
        self.topic = MemoryTopic(self.clock)
        self.dead_letter_topic = MemoryTopic(self.clock, failures=ScriptedFailures(self.journal))
        self.subscription = MemorySubscription(
            self.topic,
            dead_letter_topic=self.dead_letter_topic,
            max_delivery_attempts=100,
            failures=ScriptedFailures(self.journal),
        )
        self.rule_table = MemoryRuleTable(self.store)
        self.forwarder = ScriptedForwarder(failures=ScriptedFailures(self.journal))
        self.start_process()

    def start_process(self) -> None:
        """Replaces all that a process has in memory, as after a restart or in a second worker."""
        self.stopping = anyio.Event()
        self.random = FixedRandom()
        self.circuit = Circuit(self.clock, probe_seconds=PROBE_SECONDS, rng=FixedRandom())
        self.size = RequestSize()
        self.sending = Sending(
            forwarder=self.forwarder,
            circuit=self.circuit,
            size=self.size,
            clock=self.clock,
            stopping=self.stopping,
            budget_seconds=self.budget_seconds,
            attempt_seconds=ATTEMPT_SECONDS,
            rng=self.random,
        )
        self.rules = CurrentRules(self.rule_table, self.clock)
        self.settling = Settling(self.ledger, self.clock)
        self.poison = PoisonDetector(self.circuit, self.clock, suspect_attempts=self.suspect_attempts)
        self.forwarding = Forwarding(
            ledger=self.ledger,
            sending=self.sending,
            settling=self.settling,
            dead_lettering=DeadLettering(DeadLetterPublisher(self.dead_letter_topic), self.clock),
            poison=self.poison,
            rules=self.rules,
            circuit=self.circuit,
            clock=self.clock,
            claim_seconds=self.claim_seconds,
            suspect_backoff_seconds=self.suspect_backoff_seconds,
        )
        self.leases = Leases(self.subscription)
        self.suspects = Suspects(
            try_alone=self.forwarding.try_alone,
            leases=self.leases,
            circuit=self.circuit,
            clock=self.clock,
            stopping=self.stopping,
            backoff_seconds=self.suspect_backoff_seconds,
            is_notorious=self.forwarding.is_notorious,
        )
        self.position = BacklogPosition(self.clock)
        self.prefetcher = Prefetcher(
            subscription=self.subscription,
            leases=self.leases,
            circuit=self.circuit,
            stopping=self.stopping,
            pulls=self.pulls,
            pull_messages=self.pull_messages,
            prefetch_messages=self.prefetch_messages,
            position=self.position,
        )
        self.turns = LaneTurns(self.turns_at_once, circuit=self.circuit, clock=self.clock)
        self.held_messages = HeldMessages(random.Random(0))

    def lane(self, *, batch_messages: int = 500) -> PullLoop:
        return PullLoop(
            prefetcher=self.prefetcher,
            leases=self.leases,
            held=self.held_messages,
            suspects=self.suspects,
            position=self.position,
            turns=self.turns,
            circuit=self.circuit,
            forward=self.forwarding.forward,
            batch_messages=batch_messages,
            stopping=self.stopping,
        )

    @asynccontextmanager
    async def running(self, lanes: int = 1, *, batch_messages: int = 500) -> AsyncIterator[None]:
        """Runs pulls, lanes, suspects and leases; stops them in order at the end, within 2 s."""
        async with anyio.create_task_group() as background:
            background.start_soon(self.leases.extend_forever)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.prefetcher.run)
                for _ in range(lanes):
                    tasks.start_soon(self.lane(batch_messages=batch_messages).run)
                tasks.start_soon(self.suspects.run)
                yield
                self.stopping.set()
                tasks.cancel_scope.deadline = anyio.current_time() + 2
            background.cancel_scope.cancel()
        assert not tasks.cancel_scope.cancelled_caught, "did not stop"
        await self.leases.nack(self.leases.leased())

    async def time_passes_until(
        self, condition: Callable[[], object], *, step_seconds: float = 0.5, steps: int = 5000
    ) -> None:
        """Advance the clock in steps until the condition holds.

        Fails after so many steps, however long they take: real time would depend on the machine.
        """
        for _ in range(steps):
            if condition():
                return
            self.clock.advance(step_seconds)
            await anyio.sleep(0.002)
        assert condition(), f"did not come true within {steps} steps of {step_seconds:g} s"

    async def log(self, count: int = 1, name: str = "order_paid", *, caller: str | None = None) -> list[Event]:
        """Commits and publishes events, as ingress does."""
        events = [sample_event(name, caller=caller) for _ in range(count)]
        await self.repository.append([sample_row(event) for event in events])
        await self.publish(events)
        return events

    async def publish(self, events: Sequence[Event]) -> None:
        await self.topic.publish([forward_message.encode(event) for event in events])

    async def pull(self) -> list[ReceivedMessage]:
        return await self.subscription.pull(max_messages=1000, wait_seconds=1)

    async def logged_and_pulled(self, count: int = 1) -> tuple[list[str], list[ReceivedMessage]]:
        events = await self.log(count)
        return [event.event_id for event in events], await self.pull()

    def row(self, event_id: str) -> LedgerRow:
        return self.store.ledger[event_id]

    def states(self) -> list[str]:
        return [row.state for row in self.store.ledger.values()]

    def dead_letters(self) -> list[tuple[str, str]]:
        """Event id and reason of each published dead letter."""
        return [
            (letter.attributes.get("event_id", ""), letter.attributes.get(PREFIX + "reason", "native"))
            for letter in self.dead_letter_topic.published
        ]

    def open_circuit(self) -> None:
        for _ in range(FAILURES_TO_OPEN):
            self.circuit.failed("http_503")

"""A worker's parts put together as worker/runtime.py does it, over the fakes."""

import random
from collections.abc import Sequence

import anyio

from shared import forward_message
from shared.event import Event
from tests.support.manual_clock import ManualClock
from tests.support.memory_event_log import LedgerRow, MemoryEventLogRepository, MemoryStore
from tests.support.memory_forward_ledger import MemoryForwardLedger
from tests.support.memory_pubsub import MemorySubscription, MemoryTopic
from tests.support.sample_events import sample_event, sample_row
from tests.support.scripted_failures import ScriptedFailures
from tests.support.scripted_forwarder import ScriptedForwarder
from worker.circuit import Circuit
from worker.dead_letters import DeadLetters
from worker.forwarding import Forwarding
from worker.pull_loop import PullLoop
from worker.sending import Sending
from worker.settling import Settling
from worker.subscription import ReceivedMessage

PROBE_SECONDS = 0.02
"""Short, because a circuit that waits looks at the manual clock only once this has passed for real."""


class FixedRandom(random.Random):
    """Always the same share of the way from the lower to the upper bound; remembers what it was asked."""

    def __init__(self, share: float = 0.0) -> None:
        super().__init__(0)
        self.share = share
        self.bounds: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.bounds.append((a, b))
        return a + self.share * (b - a)


class WorkerWorld:
    """Everything of one worker process. All fakes but the repository share `journal`."""

    def __init__(self, *, budget_seconds: float = 20.0, claim_seconds: float = 90.0) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.journal: list[str] = []
        self.random = FixedRandom()
        self.stopping = anyio.Event()
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
        self.forwarder = ScriptedForwarder(failures=ScriptedFailures(self.journal))
        self.circuit = Circuit(self.clock, probe_seconds=PROBE_SECONDS, rng=FixedRandom())
        self.sending = Sending(
            forwarder=self.forwarder,
            circuit=self.circuit,
            clock=self.clock,
            stopping=self.stopping,
            budget_seconds=budget_seconds,
            attempt_seconds=20.0,
            rng=self.random,
        )
        self.settling = Settling(self.ledger, self.clock)
        self.forwarding = Forwarding(
            ledger=self.ledger,
            sending=self.sending,
            settling=self.settling,
            dead_letters=DeadLetters(self.dead_letter_topic),
            circuit=self.circuit,
            clock=self.clock,
            claim_seconds=claim_seconds,
        )

    def lane(self, *, batch_messages: int = 500) -> PullLoop:
        return PullLoop(
            subscription=self.subscription,
            circuit=self.circuit,
            forward=self.forwarding.forward,
            batch_messages=batch_messages,
            stopping=self.stopping,
        )

    async def log(self, count: int = 1) -> list[Event]:
        """Events as ingress leaves them: committed, then published."""
        events = [sample_event() for _ in range(count)]
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

    def open_circuit(self) -> None:
        self.circuit.open("http_503")

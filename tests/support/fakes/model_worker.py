"""A worker process of the model: its parts wired as worker/runtime.py wires them, over ports that can crash."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from shared.clock import Clock
from shared.events.rule_table import RuleTable
from shared.events.statsig_projection import StatsigEvent
from shared.process import fault_points
from shared.process.current_rules import CurrentRules
from shared.process.fault_points import InjectedFaultError, enable_fault_points
from worker.circuit import Circuit
from worker.dead_letter_publisher import DeadLetterPublisher
from worker.dead_lettering import DeadLettering
from worker.disposition import Disposition
from worker.forwarding import Forwarding
from worker.poison import PoisonDetector
from worker.sending import Sending
from worker.settling import Settling
from worker.statsig.outcome import SendOutcome, SendVerdict
from worker.statsig.requests import RequestSize
from worker.subscription import ReceivedMessage
from worker.untried import Untried

CLAIM_SECONDS = 30.0
SUSPECT_ATTEMPTS = 2
SUSPECT_BACKOFF_SECONDS = 5.0

CONFIRMED = SendOutcome(SendVerdict.CONFIRMED, 202, "http_202")


class NoPause(random.Random):
    """Makes every backoff its lower bound: a retry comes at once."""

    def uniform(self, a: float, b: float) -> float:
        del b
        return a


class Process:
    """Ports of one process: once its fault point was hit, every call raises and has no effect."""

    def __init__(self, crash_at: str) -> None:
        """`crash_at` is a fault point, or `POINT@HIT` for a later hit; any other text stands for no crash."""
        name, _, hit = crash_at.partition("@")
        self._crash_at = name if name in fault_points.NAMES else ""
        self._hit = int(hit or 1)
        enable_fault_points({fault_points.VARIABLE: f"{name}=raise@{self._hit}"} if self._crash_at else {})

    @property
    def is_dead(self) -> bool:
        return bool(self._crash_at) and fault_points._hits[self._crash_at] >= self._hit

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


@dataclass(slots=True)
class Mood:
    """Statsig's answer to a request regardless of its events, and whether it keeps events that it does not confirm."""

    outcome: SendOutcome
    keeps: bool


@dataclass(slots=True)
class AdverseStatsig:
    """worker.statsig.forwarder.StatsigForwarder. Counts the events that it has; its answers may not say so."""

    given_up: Callable[[], set[str]]
    """The events that are given up in the ledger at the moment."""

    moods: list[Mood] = field(default_factory=list)
    """Moods of the next requests, in order; later requests are answered by `poisoned_by`, or confirmed."""

    poisoned_by: dict[str, SendOutcome] = field(default_factory=dict)
    """By event_id: the answer to a request that has this event."""

    has: Counter[str] = field(default_factory=Counter)
    failed_alone: Counter[str] = field(default_factory=Counter)
    sent_though_given_up: set[str] = field(default_factory=set)

    async def send(self, events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        event_ids = [event.event_id for event in events]
        self.sent_though_given_up |= self.given_up().intersection(event_ids)
        mood = self.moods.pop(0) if self.moods else None
        poisons = [self.poisoned_by[event_id] for event_id in event_ids if event_id in self.poisoned_by]
        outcome = mood.outcome if mood is not None else poisons[0] if poisons else CONFIRMED
        # Only an ambiguous answer leaves open whether Statsig kept the events.
        keeps = outcome.verdict is SendVerdict.AMBIGUOUS and mood is not None and mood.keeps
        if outcome.verdict is SendVerdict.CONFIRMED or keeps:
            self.has.update(event_ids)
        if outcome.verdict is not SendVerdict.CONFIRMED and len(event_ids) == 1:
            self.failed_alone.update(event_ids)
        return dict.fromkeys(event_ids, outcome)


class ModelWorker:
    """Works until a fault point crashes it; its memory and the messages set aside are lost with it."""

    def __init__(self, *, statsig: AdverseStatsig, clock: Clock, rule_table: RuleTable, seed: int) -> None:
        self._statsig = statsig
        self._rule_table = rule_table
        self._clock = clock
        self._seed = seed
        self.start()

    def start(self) -> None:
        """Starts a process with an empty memory."""
        self.circuit = Circuit(self._clock, probe_seconds=1, rng=random.Random(self._seed))
        self.rules = CurrentRules(self._rule_table, self._clock)
        self.aside: list[ReceivedMessage] = []
        self._poison = PoisonDetector(self.circuit, self._clock, suspect_attempts=SUSPECT_ATTEMPTS)
        self.untried = Untried(self._poison.is_notorious)
        self._size = RequestSize()
        self._ports: dict[str, Any] = {}
        self._settling = Settling(_Through(self._ports, "ledger"), self._clock)

    def forwarding(self, process: Process, ledger: Any, dead_topic: Any) -> Forwarding:
        """The use case for one step, over the process's memory."""
        self._ports["ledger"] = process.port(ledger)
        return Forwarding(
            ledger=process.port(ledger),
            sending=Sending(
                forwarder=self._statsig,
                circuit=self.circuit,
                size=self._size,
                clock=self._clock,
                stopping=anyio.Event(),
                budget_seconds=20,
                attempt_seconds=1,
                rng=NoPause(),
            ),
            settling=self._settling,
            dead_lettering=DeadLettering(DeadLetterPublisher(process.port(dead_topic)), self._clock),
            poison=self._poison,
            rules=self.rules,
            circuit=self.circuit,
            clock=self._clock,
            claim_seconds=CLAIM_SECONDS,
            suspect_backoff_seconds=SUSPECT_BACKOFF_SECONDS,
        )

    def set_aside(self, messages: Sequence[ReceivedMessage], dispositions: dict[str, Disposition]) -> None:
        aside = {Disposition.SET_ASIDE, Disposition.SET_ASIDE_WAITING}
        self.aside += [message for message in messages if dispositions[message.ack_id] in aside]
        untried = [message for message in messages if dispositions[message.ack_id] is Disposition.SET_ASIDE_UNTRIED]
        for message in untried:
            self.untried.add(message, self._clock.monotonic())


class _Through:
    """A port that is replaced in each step."""

    def __init__(self, ports: dict[str, Any], name: str) -> None:
        self._ports = ports
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ports[self._name], name)

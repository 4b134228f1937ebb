"""Batches of events for a WorkerWorld's Sending, with a ledger that only records its calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.events.forward_ledger import ClaimOutcome, ClaimResult
from shared.events.statsig_projection import StatsigEvent
from tests.support.fakes.scripted_forwarder import REFUSED, SERVER_ERROR, TIMED_OUT, UNAVAILABLE, UNREACHABLE
from tests.support.fakes.worker_world import WorkerWorld
from worker.attempts import BatchAttempts
from worker.delivery import Delivery
from worker.statsig.outcome import SendOutcome, SendVerdict

FAR = 1e9
"""A deadline that is never reached."""

LIMITED = SendOutcome(SendVerdict.TRANSIENT, 429, "http_429")
FAILURES = [UNREACHABLE, LIMITED, REFUSED, UNAVAILABLE, SERVER_ERROR, TIMED_OUT]
"""Failures of every kind but a rejection."""


def batch(count: int = 3, *, size: int = 0) -> list[StatsigEvent]:
    """Events e-0, e-1 and so on; each adds about `size` bytes to a request."""
    return [StatsigEvent(f"e-{number}", "paid", None, {"text": "x" * size}, 0) for number in range(count)]


@dataclass
class RecordingLedger:
    """The callbacks of a Delivery. Each call is recorded as a list of event_ids."""

    lost: set[str] = field(default_factory=set)
    """Events that a note leaves out of its answer: they may not be sent again."""

    noted: list[list[str]] = field(default_factory=list)
    confirmed: list[list[str]] = field(default_factory=list)

    on_note: Callable[[Sequence[str]], None] = lambda _: None

    async def note(self, event_ids: Sequence[str]) -> set[str]:
        self.noted.append(list(event_ids))
        self.on_note(event_ids)
        return set(event_ids) - self.lost

    async def confirm(self, event_ids: Sequence[str]) -> None:
        self.confirmed.append(list(event_ids))


def delivery_of(
    events: Sequence[StatsigEvent],
    *,
    deadline: float = FAR,
    is_trial: bool = False,
    ledger: RecordingLedger | None = None,
    attempts: BatchAttempts | None = None,
) -> Delivery:
    """Without `attempts` the events have been claimed and never sent."""
    ledger = ledger or RecordingLedger()
    return Delivery(
        attempts=attempts
        or BatchAttempts.starting_from([ClaimResult(each.event_id, ClaimOutcome.CLAIMED) for each in events]),
        deadline=deadline,
        note=ledger.note,
        settle_confirmed=ledger.confirm,
        is_trial=is_trial,
    )


async def send(
    world: WorkerWorld,
    events: Sequence[StatsigEvent],
    *,
    deadline: float = FAR,
    is_trial: bool = False,
    ledger: RecordingLedger | None = None,
    attempts: BatchAttempts | None = None,
) -> BatchAttempts:
    delivery = delivery_of(events, deadline=deadline, is_trial=is_trial, ledger=ledger, attempts=attempts)
    await world.sending.send(events, delivery)
    return delivery.attempts


def attempts_of(attempts: BatchAttempts) -> list[int]:
    return [event.attempts for event in attempts.of.values()]


def possible_duplicates(attempts: BatchAttempts) -> list[int]:
    return [event.possible_duplicates for event in attempts.of.values()]


def answers_take(world: WorkerWorld, seconds: float) -> list[float]:
    """Let each answer take `seconds`; the returned list collects the monotonic time at which each request began."""
    began: list[float] = []

    def on_send() -> None:
        began.append(world.clock.monotonic())
        world.clock.advance(seconds)

    world.forwarder.on_send = on_send
    return began

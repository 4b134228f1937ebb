"""Poison detection: whether an event that failed alone is at fault, or the destination.

An event is at fault only if it fails alone while others are confirmed at about the same time. While nothing is
confirmed the destination is at fault and nothing is dead-lettered, with one exception: for a few events a 400, 413 or
422 in a request of their own is evidence enough, so that a bad event in a quiet hour ends too.

Where requests fail by chance, good events fail alone too. How often they do is seen from those that are confirmed in
the end, and an event must fail alone that many times more to be at fault.
"""

from collections import OrderedDict
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from shared.clock import Clock
from worker.attempts import EventAttempts
from worker.circuit import Circuit
from worker.statsig.outcome import NOT_SERIALIZABLE, SendVerdict

ALLOWANCE: Final = 20
"""Events that may be dead-lettered for a rejection while nothing is confirmed, until the next confirmation."""

EXHAUSTED: Final = "exhausted"
"""The reason of a dead letter that failed alone too often, without a reason from Statsig."""

NOTORIOUS_AT: Final = 5
"""Failures alone of events of one name, since an event of that name was last confirmed. From then on they are set aside
without an attempt."""

CHANCE_SECONDS: Final = 3600.0
"""How long a confirmed event that had failed alone shows what chance does. By default six trials take eight
minutes; a spell of random failures may last longer."""

NAMES_REMEMBERED: Final = 1000
"""Event names with failures; the least recent is forgotten. Bounds the memory."""


class Suspicion(StrEnum):
    POISON = "poison"
    SUSPECT = "suspect"
    """Try it again alone, later."""

    UNDECIDED = "undecided"
    """It did not fail alone, or failed while nothing was confirmed: no evidence either way."""


class PoisonDetector:
    """Judges events that were not confirmed. One per process; for the event loop's thread."""

    def __init__(self, circuit: Circuit, clock: Clock, *, suspect_attempts: int) -> None:
        self._circuit = circuit
        self._clock = clock
        self._suspect_attempts = suspect_attempts
        self._chance_failures = 0
        """Most failures alone of an event that was confirmed within CHANCE_SECONDS."""
        self._chance_until = float("-inf")
        self._allowance = ALLOWANCE
        self._allowance_since = float("-inf")
        self._failures_of: OrderedDict[str, int] = OrderedDict()

    def judge(self, event: EventAttempts) -> Suspicion:
        """How suspicious an unconfirmed event is; increments its `alone_failures` for a failure that is evidence."""
        if event.outcome is NOT_SERIALIZABLE:
            return Suspicion.POISON  # found by us: it was never sent
        began = event.failed_alone_at
        if began is None:
            return Suspicion.UNDECIDED
        if event.outcome.verdict is SendVerdict.REJECTED:
            # One rejection suffices if anything was confirmed after this request began. In an open circuit nothing was.
            others_confirmed = self._circuit.confirmed_since(began)
            if others_confirmed:
                event.alone_failures += 1
            return Suspicion.POISON if others_confirmed or self._allows_one_more(began) else Suspicion.SUSPECT
        since = began if event.failing_since is None else event.failing_since
        if self._circuit.open_reason is not None or not self._circuit.confirmed_since(since):
            return Suspicion.UNDECIDED
        if event.outcome.verdict is not SendVerdict.TRANSIENT:  # which says nothing about the event
            event.alone_failures += 1
        return Suspicion.POISON if event.alone_failures >= self._failures_of_guilt() else Suspicion.SUSPECT

    def _failures_of_guilt(self) -> int:
        """The failures alone that prove guilt: the usual number plus those of a good event, twice the usual at most.

        A fixed number, where one request in ten fails, is reached by one good event in a thousand with three failures.
        """
        by_chance = self._chance_failures if self._clock.monotonic() < self._chance_until else 0
        return self._suspect_attempts + min(by_chance, self._suspect_attempts)

    def _allows_one_more(self, began: float) -> bool:
        if self._circuit.confirmed_since(self._allowance_since):
            self._allowance, self._allowance_since = ALLOWANCE, began
        self._allowance -= 1
        return self._allowance >= 0

    def failed_alone(self, event_name: str) -> None:
        """Count one more event of this name that failed alone."""
        self._failures_of[event_name] = self._failures_of.pop(event_name, 0) + 1
        if len(self._failures_of) > NAMES_REMEMBERED:
            self._failures_of.popitem(last=False)

    def confirmed(self, event_name: str, alone_failures: int = 0) -> None:
        """Forget the failures of this name: an event of it was confirmed, after so many failures alone of its own."""
        self._failures_of.pop(event_name, None)
        if alone_failures:
            now = self._clock.monotonic()
            if alone_failures >= self._chance_failures or now >= self._chance_until:
                self._chance_failures, self._chance_until = alone_failures, now + CHANCE_SECONDS

    def is_notorious(self, event_name: str) -> bool:
        """Whether events of this name keep failing alone. They are set aside before they are sent."""
        return self._failures_of.get(event_name, 0) >= NOTORIOUS_AT


def reason_of(event: EventAttempts) -> str:
    """The dead letter's reason: that of Statsig's answer if it is about the event, EXHAUSTED otherwise."""
    status = event.outcome.status
    if event.outcome.verdict is SendVerdict.REJECTED:
        return event.outcome.reason
    is_about_the_request = status is not None and HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return event.outcome.reason if is_about_the_request else EXHAUSTED

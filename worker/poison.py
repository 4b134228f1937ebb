"""Guilt is relative: whether an event that failed alone is to blame, or the destination.

An event is to blame only where it fails alone while others are confirmed about the same time. Where nothing is
confirmed it is the destination's fault, and nothing is dead-lettered, with one exception: a 400, 413 or 422 to an event
alone is evidence enough for a few, so that a bad event in a quiet hour ends too.
"""

from collections import OrderedDict
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from worker.accounts import EventAttempts
from worker.circuit import Circuit
from worker.statsig.outcome import NOT_SERIALIZABLE, SendVerdict

ALLOWANCE: Final = 20
"""Events that may be blamed for a rejection although nothing is confirmed, until the next confirmation."""

EXHAUSTED: Final = "exhausted"
"""The reason of a dead letter for which Statsig never named one: it failed alone too often."""

NOTORIOUS_AT: Final = 5
"""Events of one name that failed alone since the last one of that name was confirmed."""

NAMES_REMEMBERED: Final = 1000


class Suspicion(StrEnum):
    GUILTY = "guilty"
    SUSPECT = "suspect"
    """To be tried again alone, later."""

    UNDECIDED = "undecided"
    """Did not fail alone, or while nothing was confirmed: nothing is known of it."""


class PoisonDetector:
    """Judges events; one per process."""

    def __init__(self, circuit: Circuit, *, suspect_attempts: int) -> None:
        self._circuit = circuit
        self._suspect_attempts = suspect_attempts
        self._allowance = ALLOWANCE
        self._allowance_since = float("-inf")
        self._failures_of: OrderedDict[str, int] = OrderedDict()

    def judge(self, account: EventAttempts) -> Suspicion:
        """What is to be done with an event that was not confirmed; counts a failure that is evidence against it."""
        if account.outcome is NOT_SERIALIZABLE:
            return Suspicion.GUILTY  # our own finding: it was never sent
        began = account.failed_alone_at
        if began is None:
            return Suspicion.UNDECIDED
        if account.outcome.verdict is SendVerdict.REJECTED:
            # One is enough, so it takes a confirmation after it. An open circuit has had none since it opened.
            others_confirmed = self._circuit.confirmed_since(began)
            account.alone_failures += others_confirmed
            return Suspicion.GUILTY if others_confirmed or self._allows_one_more(began) else Suspicion.SUSPECT
        since = began if account.failing_since is None else account.failing_since
        if self._circuit.open_reason is not None or not self._circuit.confirmed_since(since):
            return Suspicion.UNDECIDED
        if account.outcome.verdict is not SendVerdict.TRANSIENT:  # which says nothing of the event
            account.alone_failures += 1
        return Suspicion.GUILTY if account.alone_failures >= self._suspect_attempts else Suspicion.SUSPECT

    def _allows_one_more(self, began: float) -> bool:
        if self._circuit.confirmed_since(self._allowance_since):
            self._allowance, self._allowance_since = ALLOWANCE, began
        self._allowance -= 1
        return self._allowance >= 0

    def failed_alone(self, event_name: str) -> None:
        """One more event of this name failed alone."""
        self._failures_of[event_name] = self._failures_of.pop(event_name, 0) + 1
        if len(self._failures_of) > NAMES_REMEMBERED:
            self._failures_of.popitem(last=False)

    def confirmed(self, event_name: str) -> None:
        """An event of this name was confirmed."""
        self._failures_of.pop(event_name, None)

    def is_notorious(self, event_name: str) -> bool:
        """Whether events of this name keep failing alone: then they are suspects without having been sent."""
        return self._failures_of.get(event_name, 0) >= NOTORIOUS_AT


def reason_of(account: EventAttempts) -> str:
    """Of the dead letter: what Statsig found wrong with the event, where it said so."""
    status = account.outcome.status
    if account.outcome.verdict is SendVerdict.REJECTED:
        return account.outcome.reason
    is_about_the_request = status is not None and HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return account.outcome.reason if is_about_the_request else EXHAUSTED

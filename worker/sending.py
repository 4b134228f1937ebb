"""Sending a claimed batch: requests, retries with jittered backoff inside a time budget, an account of attempts."""

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

import anyio

from shared.attempt_history import History, HistoryEntry, HistoryKind, extended
from shared.clock import Clock
from shared.fault_points import fault_point
from shared.forward_ledger import Attempt, Entry
from shared.logs import get_logger
from shared.statsig_projection import StatsigEvent
from worker.circuit import DEAD_LETTERS_TO_OPEN, Circuit
from worker.rejection import send_isolating_rejections, split_into_requests
from worker.statsig_forwarder import StatsigForwarder
from worker.statsig_outcome import SendOutcome, Verdict

FIRST_BACKOFF_SECONDS: Final = 0.5
LONGEST_BACKOFF_SECONDS: Final = 8.0
"""Full jitter between nothing and a bound that doubles from the one to the other: lanes and workers that failed
together do not come back together."""

LONGEST_RETRY_AFTER_SECONDS: Final = 30.0
"""A longer Retry-After opens the circuit: no batch should be held, nor handed back and pulled again, for so long."""

INTERRUPTED: Final = SendOutcome(Verdict.AMBIGUOUS, None, "interrupted")
NEVER_SENT: Final = SendOutcome(Verdict.TRANSIENT, None, "not_sent")

_log = get_logger()


@dataclass(slots=True)
class _Account:
    attempts: int
    possible_duplicates: int
    history: History = ()
    outcome: SendOutcome = NEVER_SENT
    last_attempt_at: datetime | None = None


@dataclass(slots=True)
class Sent:
    """What is known of each event of a batch; grows while it is sent, so that a cancelled send leaves its account."""

    accounts: dict[str, _Account] = field(default_factory=dict)

    @classmethod
    def starting_from(cls, entries: Iterable[Entry]) -> Self:
        return cls({e.event_id: _Account(e.attempts, e.possible_duplicates, e.history) for e in entries})

    def learn(self, outcomes: dict[str, SendOutcome]) -> None:
        """Replace `interrupted` by what became of the attempt."""
        for event_id, outcome in outcomes.items():
            account = self.accounts[event_id]
            account.outcome = outcome
            account.history = (*account.history[:-1], _noted(account.last_attempt_at, outcome))
            if outcome.verdict is not Verdict.AMBIGUOUS:
                account.possible_duplicates -= 1
            if outcome.verdict is Verdict.CONFIRMED:
                _log.debug("event_sent", event_id=event_id)

    def is_open(self, event_id: str) -> bool:
        """Whether an attempt has begun of which nothing is known yet."""
        return self.accounts[event_id].outcome is INTERRUPTED

    def with_verdict(self, verdict: Verdict) -> list[str]:
        return [event_id for event_id, account in self.accounts.items() if account.outcome.verdict is verdict]

    def attempts(self, event_ids: Iterable[str]) -> list[Attempt]:
        """In the form in which the ledger keeps them."""
        return [
            Attempt(
                event_id=event_id,
                attempts=account.attempts,
                possible_duplicates=account.possible_duplicates,
                last_attempt_at=account.last_attempt_at,
                reason=account.outcome.reason,
                status=account.outcome.status,
                history=account.history,
            )
            for event_id in event_ids
            for account in (self.accounts[event_id],)
        ]


def _noted(at: datetime | None, outcome: SendOutcome) -> HistoryEntry:
    return HistoryEntry(HistoryKind.ATTEMPT, at, outcome.verdict, outcome.reason, outcome.status)


class Sending:
    """Sends to Statsig. Knows neither messages nor the ledger."""

    def __init__(
        self,
        *,
        forwarder: StatsigForwarder,
        circuit: Circuit,
        clock: Clock,
        stopping: anyio.Event,
        budget_seconds: float,
        attempt_seconds: float,
        rng: random.Random | None = None,
    ) -> None:
        self._forwarder = forwarder
        self._circuit = circuit
        self._clock = clock
        self._stopping = stopping
        self._budget_seconds = budget_seconds
        self._attempt_seconds = attempt_seconds
        self._random = rng or random.Random()  # noqa: S311 - jitter

    async def send(self, events: Sequence[StatsigEvent], sent: Sent, *, deadline: float) -> None:
        """Try until each event is confirmed or rejected, or trying is over; the account says what became of each.

        Trying is over when the budget is spent, the circuit opens, the process stops, or the claim's `deadline`
        (monotonic) leaves no room for another attempt: a worker that was paused past its claim sends nothing with it.
        """
        give_up_at = min(self._clock.monotonic() + self._budget_seconds, deadline - self._attempt_seconds)
        pending = list(events)
        was_open = self._circuit.open_reason is not None  # then this is the probe
        for round_number in itertools.count():
            if not await self._paused(round_number, give_up_at):
                return
            pending = await self._send_once(pending, sent, deadline)
            if not pending or self._circuit.open_reason is not None or was_open or self._stopping.is_set():
                return

    async def _paused(self, round_number: int, give_up_at: float) -> bool:
        """Wait as long as Statsig asked everybody to, and before another try as long as backoff says on top of it.

        False where that takes too long, or the process stops meanwhile.
        """
        pause = self._circuit.quiet_seconds()
        if round_number:
            bound = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(round_number - 1, 10))
            pause += self._random.uniform(0, bound)
        elif not pause:
            return True  # the first try, and nobody asked for a pause
        if self._clock.monotonic() + pause > give_up_at:
            return False
        with anyio.move_on_after(pause):
            await self._stopping.wait()
        return not self._stopping.is_set()

    async def _send_once(self, events: Sequence[StatsigEvent], sent: Sent, deadline: float) -> list[StatsigEvent]:
        """One attempt on each; what may be tried again."""
        again: list[StatsigEvent] = []
        for request in split_into_requests(events):
            told_to_wait = again and (self._circuit.open_reason is not None or self._circuit.quiet_seconds())
            if told_to_wait or not self._may_send(deadline):
                again += request
                continue
            outcomes = await self._attempt(request, sent, deadline)
            again += [e for e in request if outcomes[e.event_id].verdict in (Verdict.TRANSIENT, Verdict.AMBIGUOUS)]
        return again

    def _may_send(self, deadline: float) -> bool:
        return self._clock.monotonic() + self._attempt_seconds <= deadline

    async def _attempt(self, request: Sequence[StatsigEvent], sent: Sent, deadline: float) -> dict[str, SendOutcome]:
        accounts = [sent.accounts[event.event_id] for event in request]
        now = datetime.fromtimestamp(self._clock.now_nanos() / 1e9, UTC)
        for account in accounts:
            # Before the attempt, so that one that is cancelled has been noted: its outcome is not known.
            account.attempts += 1
            account.possible_duplicates += 1
            account.last_attempt_at = now
            account.outcome = INTERRUPTED
            account.history = extended(account.history, _noted(now, INTERRUPTED))
        fault_point("before_send")
        outcomes = await send_isolating_rejections(
            self._forwarder,
            request,
            give_up_after=DEAD_LETTERS_TO_OPEN,
            may_send=lambda: self._may_send(deadline),
            learned=sent.learn,
        )
        if any(outcome.verdict is Verdict.CONFIRMED for outcome in outcomes.values()):
            fault_point("after_confirm")
        # What was never answered for itself: the rest of a search that was given up.
        sent.learn({event_id: outcome for event_id, outcome in outcomes.items() if sent.is_open(event_id)})
        self._tell_circuit(outcomes)
        return outcomes

    def _tell_circuit(self, outcomes: dict[str, SendOutcome]) -> None:
        by_verdict = {outcome.verdict: outcome for outcome in outcomes.values()}
        if refusal := by_verdict.get(Verdict.REFUSED):
            _log.error("statsig_refuses_us", reason=refusal.reason, status=refusal.status)
            self._circuit.open(refusal.reason)
        elif trouble := by_verdict.get(Verdict.AMBIGUOUS) or by_verdict.get(Verdict.TRANSIENT):
            ambiguous = sum(outcome.verdict is Verdict.AMBIGUOUS for outcome in outcomes.values())
            _log.warning("attempt_failed", reason=trouble.reason, events=len(outcomes), ambiguous=ambiguous)
            if (trouble.retry_after_seconds or 0.0) > LONGEST_RETRY_AFTER_SECONDS:
                self._circuit.open(trouble.reason, trouble.retry_after_seconds)
            else:
                self._circuit.ask_for_quiet(trouble.retry_after_seconds or 0.0)
                self._circuit.failed(trouble.reason, trouble.retry_after_seconds)
        else:
            self._circuit.answered(confirmed=Verdict.CONFIRMED in by_verdict)

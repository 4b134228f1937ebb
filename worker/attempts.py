"""The attempts on the events of a batch: how often each was sent, and what is known of the outcome."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Self

from shared.events.attempt_history import History, HistoryEntry, HistoryKind, extended
from shared.events.forward_ledger import ClaimResult, DeliveryRecord
from shared.process.logs import get_logger, log_each
from worker.statsig.outcome import SendOutcome, SendVerdict

INTERRUPTED: Final = SendOutcome(SendVerdict.AMBIGUOUS, None, "interrupted")
NEVER_SENT: Final = SendOutcome(SendVerdict.TRANSIENT, None, "not_sent")

_log = get_logger()


@dataclass(slots=True)
class EventAttempts:
    """The attempts on one event, earlier claims included."""

    attempts: int
    possible_duplicates: int
    durable_duplicates: int
    """Those that are written to the ledger. An event may be sent only while the two are equal."""

    alone_failures: int
    """Requests that carried this event alone and failed, while others were confirmed."""

    history: History = ()
    outcome: SendOutcome = NEVER_SENT
    last_attempt_at: datetime | None = None
    failed_alone_at: float | None = None
    """Monotonic: when the latest request began, if it carried this event alone and failed; None otherwise."""

    failing_since: float | None = None
    """Monotonic: when the first failed request with this event began; in a trial, the last one before it. Events that
    were confirmed since then were confirmed while this one failed."""


@dataclass(slots=True)
class BatchAttempts:
    """The attempts on a batch's events. Updated while it is sent, so that a cancelled send leaves what is known."""

    of: dict[str, EventAttempts] = field(default_factory=dict)
    """By event_id."""

    @classmethod
    def starting_from(
        cls, results: Iterable[ClaimResult], recalled: Mapping[str, DeliveryRecord] = MappingProxyType({})
    ) -> Self:
        """From what the ledger has, or from what this process knows and has not been able to write (`recalled`)."""
        attempts: dict[str, EventAttempts] = {}
        for ledger_row in results:
            known = recalled.get(ledger_row.event_id)
            latest = ledger_row if known is None else known
            event = attempts[ledger_row.event_id] = EventAttempts(
                latest.attempts,
                latest.possible_duplicates,
                ledger_row.possible_duplicates,
                latest.alone_failures,
                latest.history,
            )
            if known is not None:
                event.last_attempt_at = known.last_attempt_at
                event.outcome = SendOutcome(SendVerdict.TRANSIENT, known.status, known.reason)
        return cls(attempts)

    def without(self, event_ids: Collection[str]) -> Self:
        """The attempts on the other events; what is recorded there is recorded here too."""
        return type(self)({e: event for e, event in self.of.items() if e not in event_ids})

    def begin(self, event_ids: Iterable[str], now: datetime) -> None:
        """Record an attempt before it is made, as one with an unknown outcome: so it stays if it is cancelled."""
        noted = _noted(now, INTERRUPTED)
        first = extended((), noted)
        for event_id in event_ids:
            event = self.of[event_id]
            event.attempts += 1
            event.possible_duplicates += 1
            event.last_attempt_at = now
            event.outcome = INTERRUPTED
            event.failed_alone_at = None
            event.history = extended(event.history, noted) if event.history else first

    def failed(self, event_ids: Iterable[str], began: float) -> None:
        """Record that a request with these events, begun then, failed."""
        for event_id in event_ids:
            event = self.of[event_id]
            event.failing_since = began if event.failing_since is None else event.failing_since

    def failed_before(self, now: datetime, monotonic: float) -> None:
        """Let these events be failing since their last attempt in the ledger, if there is one."""
        for event in self.of.values():
            tried = [entry.at for entry in event.history if entry.kind is HistoryKind.ATTEMPT and entry.at is not None]
            if tried:
                event.failing_since = monotonic - max(0.0, (now - tried[-1]).total_seconds())

    def learn(self, outcomes: dict[str, SendOutcome]) -> None:
        """Replace what `begin` recorded by the outcome, for events that were begun together."""
        results: dict[int, History] = {}  # most events of a request share one outcome
        for event_id, outcome in outcomes.items():
            event = self.of[event_id]
            noted = results.get(id(outcome))
            if noted is None:
                noted = results[id(outcome)] = (_noted(event.last_attempt_at, outcome),)
            event.outcome = outcome
            event.history = noted if len(event.history) == 1 else event.history[:-1] + noted
            if outcome.verdict is not SendVerdict.AMBIGUOUS:
                event.possible_duplicates -= 1
        log_each(_log, "event_sent", (e for e, outcome in outcomes.items() if outcome.verdict is SendVerdict.CONFIRMED))

    def not_durable(self, event_ids: Iterable[str]) -> list[str]:
        """Those with possible duplicates that the ledger does not have."""
        return [e for e in event_ids if self.of[e].possible_duplicates > self.of[e].durable_duplicates]

    def made_durable(self, event_ids: Iterable[str]) -> None:
        for event_id in event_ids:
            self.of[event_id].durable_duplicates = self.of[event_id].possible_duplicates

    def with_verdict(self, verdict: SendVerdict) -> list[str]:
        return [event_id for event_id, event in self.of.items() if event.outcome.verdict is verdict]

    def records(
        self, event_ids: Iterable[str], *, reason: str | None = None, wait_seconds: float | None = None
    ) -> list[DeliveryRecord]:
        """As the ledger keeps them; `reason` replaces that of the last attempt."""
        return [
            DeliveryRecord(
                event_id=event_id,
                attempts=event.attempts,
                possible_duplicates=event.possible_duplicates,
                last_attempt_at=event.last_attempt_at,
                reason=reason or event.outcome.reason,
                status=event.outcome.status,
                history=event.history,
                alone_failures=event.alone_failures,
                wait_seconds=wait_seconds,
            )
            for event_id in event_ids
            for event in (self.of[event_id],)
        ]


def untried(event_ids: Sequence[str]) -> list[DeliveryRecord]:
    """Records of events that were claimed, or may have been, and never sent."""
    return [DeliveryRecord(event_id, 0, 0, None, NEVER_SENT.reason, None, ()) for event_id in event_ids]


def records_given_up(results: Iterable[ClaimResult]) -> list[DeliveryRecord]:
    """Records of those events that were given up under an earlier claim; their status is that of the last attempt."""
    return [
        DeliveryRecord(
            event_id=result.event_id,
            attempts=result.attempts,
            possible_duplicates=result.possible_duplicates,
            last_attempt_at=None if last is None else last.at,
            reason=result.given_up_reason,
            status=None if last is None else last.status,
            history=result.history,
            alone_failures=result.alone_failures,
        )
        for result in results
        if result.given_up_reason is not None
        for last in (_last_attempt(result.history),)
    ]


def _last_attempt(history: History) -> HistoryEntry | None:
    return next((entry for entry in reversed(history) if entry.kind is HistoryKind.ATTEMPT), None)


def _noted(at: datetime | None, outcome: SendOutcome) -> HistoryEntry:
    return HistoryEntry(HistoryKind.ATTEMPT, at, outcome.verdict, outcome.reason, outcome.status, outcome.answer)

"""The account of a batch's attempts: what was sent of each event, and what is known of it."""

from collections.abc import Iterable, Mapping, Sequence
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
    """One event's."""

    attempts: int
    possible_duplicates: int
    durable_duplicates: int
    """What the ledger has of them. An event may be sent only while the two are equal."""

    alone_failures: int
    history: History = ()
    outcome: SendOutcome = NEVER_SENT
    last_attempt_at: datetime | None = None
    failed_alone_at: float | None = None
    """Monotonic: when the request began that carried this event alone and failed. None where the last one did not."""

    failing_since: float | None = None
    """Monotonic: when the first request began that carried this event and failed, or for a trial the last one before
    it. Others that are confirmed since then are confirmed while this one fails."""


@dataclass(slots=True)
class BatchAttempts:
    """A batch's; grows while it is sent, so that a send that is cancelled leaves what is known."""

    of: dict[str, EventAttempts] = field(default_factory=dict)
    """By event_id."""

    @classmethod
    def starting_from(
        cls, entries: Iterable[ClaimResult], recalled: Mapping[str, DeliveryRecord] = MappingProxyType({})
    ) -> Self:
        """With what the ledger says, or what this process knows better and has not been able to write."""
        accounts: dict[str, EventAttempts] = {}
        for entry in entries:
            known = recalled.get(entry.event_id)
            latest = entry if known is None else known
            account = accounts[entry.event_id] = EventAttempts(
                latest.attempts,
                latest.possible_duplicates,
                entry.possible_duplicates,
                latest.alone_failures,
                latest.history,
            )
            if known is not None:
                account.last_attempt_at = known.last_attempt_at
                account.outcome = SendOutcome(SendVerdict.TRANSIENT, known.status, known.reason)
        return cls(accounts)

    def begin(self, event_ids: Iterable[str], now: datetime) -> None:
        """Note an attempt before it is made, so that one that is cancelled is counted: nobody knows its outcome."""
        noted = _noted(now, INTERRUPTED)
        first = extended((), noted)
        for event_id in event_ids:
            account = self.of[event_id]
            account.attempts += 1
            account.possible_duplicates += 1
            account.last_attempt_at = now
            account.outcome = INTERRUPTED
            account.failed_alone_at = None
            account.history = extended(account.history, noted) if account.history else first

    def failed(self, event_ids: Iterable[str], began: float) -> None:
        """Note the beginning of a request that failed."""
        for event_id in event_ids:
            account = self.of[event_id]
            account.failing_since = began if account.failing_since is None else account.failing_since

    def failed_before(self, now: datetime, monotonic: float) -> None:
        """Take the last attempt of what the ledger has, if any, for the time since when these events fail."""
        for account in self.of.values():
            tried = [
                entry.at for entry in account.history if entry.kind is HistoryKind.ATTEMPT and entry.at is not None
            ]
            if tried:
                account.failing_since = monotonic - max(0.0, (now - tried[-1]).total_seconds())

    def learn(self, outcomes: dict[str, SendOutcome]) -> None:
        """Replace what `begin` noted by what became of the attempt; of events that were begun together."""
        entries: dict[int, History] = {}  # most events of a request share their outcome, and what is noted of it
        for event_id, outcome in outcomes.items():
            account = self.of[event_id]
            noted = entries.get(id(outcome))
            if noted is None:
                noted = entries[id(outcome)] = (_noted(account.last_attempt_at, outcome),)
            account.outcome = outcome
            account.history = noted if len(account.history) == 1 else account.history[:-1] + noted
            if outcome.verdict is not SendVerdict.AMBIGUOUS:
                account.possible_duplicates -= 1
        log_each(_log, "event_sent", (e for e, outcome in outcomes.items() if outcome.verdict is SendVerdict.CONFIRMED))

    def not_durable(self, event_ids: Iterable[str]) -> list[str]:
        """Those whose possible duplicates are not all in the ledger."""
        return [e for e in event_ids if self.of[e].possible_duplicates > self.of[e].durable_duplicates]

    def made_durable(self, event_ids: Iterable[str]) -> None:
        for event_id in event_ids:
            self.of[event_id].durable_duplicates = self.of[event_id].possible_duplicates

    def with_verdict(self, verdict: SendVerdict) -> list[str]:
        return [event_id for event_id, account in self.of.items() if account.outcome.verdict is verdict]

    def attempts(
        self, event_ids: Iterable[str], *, reason: str | None = None, wait_seconds: float | None = None
    ) -> list[DeliveryRecord]:
        """In the form in which the ledger keeps them; `reason` replaces the last attempt's."""
        return [
            DeliveryRecord(
                event_id=event_id,
                attempts=account.attempts,
                possible_duplicates=account.possible_duplicates,
                last_attempt_at=account.last_attempt_at,
                reason=reason or account.outcome.reason,
                status=account.outcome.status,
                history=account.history,
                alone_failures=account.alone_failures,
                wait_seconds=wait_seconds,
            )
            for event_id in event_ids
            for account in (self.of[event_id],)
        ]


def untried(event_ids: Sequence[str]) -> list[DeliveryRecord]:
    """Of events that were claimed, or perhaps claimed, and never sent."""
    return [DeliveryRecord(event_id, 0, 0, None, NEVER_SENT.reason, None, ()) for event_id in event_ids]


def _noted(at: datetime | None, outcome: SendOutcome) -> HistoryEntry:
    return HistoryEntry(HistoryKind.ATTEMPT, at, outcome.verdict, outcome.reason, outcome.status, outcome.answer)

"""The outcome of a replay for each event: as foreseen before it, and as found by it; pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from shared.events.dead_letter_table import LetterKind
from shared.events.forward_ledger import ForwardState
from shared.events.replay_ledger import ReopenOutcome, ReopenResult
from worker.operators.events.records import LedgerState


class Outcome(StrEnum):
    """What becomes of one event. The values are keys of the JSON answer."""

    SENT = "sent"
    """Was dead: made pending again and published."""

    SENT_AGAIN = "sent_again"
    """Was pending: published once more, not counted as a replay."""

    DELIVERED = "delivered"
    """Statsig has it: not sent, its dead letter closed."""

    IN_WORK = "in_work"
    """In flight: a worker is sending it. Left as it is."""

    QUARANTINED = "quarantined"
    """Was replayed too often: left as it is."""

    POISON = "poison"
    """Its bytes are no forward message: left as it is."""

    MISSING = "missing"
    """Has no ledger row: left as it is."""

    TAKEN = "taken"
    """Another replay took it, or its dead letter was closed, after it was chosen."""

    LEFT = "left"
    """Not reached: beyond the limit, or the replay was interrupted or failed."""


_OUTCOME_OF_REOPENING: Final = {
    ReopenOutcome.REOPENED: Outcome.SENT,
    ReopenOutcome.PENDING: Outcome.SENT_AGAIN,
    ReopenOutcome.IN_FLIGHT: Outcome.IN_WORK,
    ReopenOutcome.DELIVERED: Outcome.DELIVERED,
    ReopenOutcome.QUARANTINED: Outcome.QUARANTINED,
    ReopenOutcome.MISSING: Outcome.MISSING,
}

PUBLISHED: Final = frozenset({Outcome.SENT, Outcome.SENT_AGAIN})
"""Outcomes of events that a replay publishes."""

EXPLAINED: Final = {
    Outcome.SENT: "dead: made pending again and published",
    Outcome.SENT_AGAIN: "pending: published once more, not counted as a replay",
    Outcome.DELIVERED: "delivered already: not sent, its dead letter closed",
    Outcome.IN_WORK: "in flight: a worker is sending it; left",
    Outcome.QUARANTINED: "replayed too often: left, see its history",
    Outcome.POISON: "not a forward message: never replayed, left",
    Outcome.MISSING: "no ledger row: left",
    Outcome.TAKEN: "taken by another replay, or closed meanwhile",
    Outcome.LEFT: "not reached: left for the next run",
}


def forecast(kind: LetterKind | None, state: LedgerState | None, *, max_replays: int) -> Outcome:
    """The outcome that a replay would have now. `kind` is that of the dead letter, None for an event without one."""
    if kind is LetterKind.POISON:
        return Outcome.POISON
    if state is None:
        return Outcome.MISSING
    if state.state is ForwardState.DELIVERED:
        return Outcome.DELIVERED
    if state.state is ForwardState.PENDING and state.is_in_flight:
        return Outcome.IN_WORK
    if state.state is ForwardState.PENDING and state.given_up_reason is None:
        return Outcome.SENT_AGAIN
    return Outcome.QUARANTINED if state.replays >= max_replays else Outcome.SENT


def outcome_of(found: ReopenResult, *, is_retried: bool) -> Outcome:
    """The outcome of an event that was reopened.

    `is_retried` says that an earlier try of this replay may have been written although its answer was lost; a pending
    event without an open dead letter may then be our own.
    """
    if found.found is ReopenOutcome.PENDING and not found.had_letter and not is_retried:
        return Outcome.TAKEN
    return _OUTCOME_OF_REOPENING[found.found]


def histogram(outcomes: Iterable[tuple[Outcome, str]]) -> list[tuple[Outcome, str, int]]:
    """Counts by outcome and reason: the outcomes in the order of the enum, the most frequent reason first."""
    counts: Mapping[tuple[Outcome, str], int] = Counter(outcomes)
    order = list(Outcome)
    return sorted(
        ((outcome, reason, count) for (outcome, reason), count in counts.items()),
        key=lambda row: (order.index(row[0]), -row[2], row[1]),
    )

"""What a replay makes of each event, decided from what is known before it begins; pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from shared.events.dead_letter_table import LetterKind
from shared.events.forward_ledger import ForwardState
from shared.events.replay_ledger import ReopenOutcome, ReopenResult
from worker.operators.events.records import LedgerState


class Outcome(StrEnum):
    SENT = "sent"
    """Made pending again and published."""

    SENT_AGAIN = "sent_again"
    """Was pending already: published once more, not counted as a replay."""

    DELIVERED = "delivered"
    """Statsig has it: not sent, its dead letter closed."""

    IN_WORK = "in_work"
    """A worker has it right now: left where it is."""

    QUARANTINED = "quarantined"
    """Came back too often: left where it is."""

    POISON = "poison"
    MISSING = "missing"
    """Has no ledger row: left where it is."""

    TAKEN = "taken"
    """Another replay had it meanwhile."""

    LEFT = "left"
    """Not reached: beyond the limit, interrupted, or a dependency failed."""


_OF_REOPENING: Final = {
    ReopenOutcome.REOPENED: Outcome.SENT,
    ReopenOutcome.PENDING: Outcome.SENT_AGAIN,
    ReopenOutcome.IN_FLIGHT: Outcome.IN_WORK,
    ReopenOutcome.DELIVERED: Outcome.DELIVERED,
    ReopenOutcome.QUARANTINED: Outcome.QUARANTINED,
    ReopenOutcome.MISSING: Outcome.MISSING,
}

PUBLISHED: Final = frozenset({Outcome.SENT, Outcome.SENT_AGAIN})

EXPLAINED: Final = {
    Outcome.SENT: "dead: made pending again and published",
    Outcome.SENT_AGAIN: "pending: published once more, not counted as a replay",
    Outcome.DELIVERED: "delivered already: not sent, its dead letter closed",
    Outcome.IN_WORK: "a worker has it right now: left",
    Outcome.QUARANTINED: "replayed too often: left, see its history",
    Outcome.POISON: "no forward message: never replayed, left",
    Outcome.MISSING: "no ledger row: left",
    Outcome.TAKEN: "another replay had it meanwhile",
    Outcome.LEFT: "not reached: left for the next run",
}


def forecast(kind: LetterKind | None, state: LedgerState | None, *, max_replays: int) -> Outcome:
    """What a replay would make of it now; `kind` is its dead letter's, None where it has none."""
    if kind is LetterKind.POISON:
        return Outcome.POISON
    if state is None:
        return Outcome.MISSING
    if state.state is ForwardState.DELIVERED:
        return Outcome.DELIVERED
    if state.state is ForwardState.PENDING:
        return Outcome.IN_WORK if state.is_in_work else Outcome.SENT_AGAIN
    return Outcome.QUARANTINED if state.replays >= max_replays else Outcome.SENT


def outcome_of(found: ReopenResult, *, is_retried: bool) -> Outcome:
    """What became of it. `is_retried` where an earlier try of ours may have been written, its answer lost."""
    if found.found is ReopenOutcome.PENDING and not found.had_letter and not is_retried:
        return Outcome.TAKEN
    return _OF_REOPENING[found.found]


def histogram(outcomes: Iterable[tuple[Outcome, str]]) -> list[tuple[Outcome, str, int]]:
    """Counted by outcome and reason: outcomes in their order, the most frequent reason first."""
    counts: Mapping[tuple[Outcome, str], int] = Counter(outcomes)
    order = list(Outcome)
    return sorted(
        ((outcome, reason, count) for (outcome, reason), count in counts.items()),
        key=lambda row: (order.index(row[0]), -row[2], row[1]),
    )

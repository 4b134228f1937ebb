"""What a replay makes of each event, decided from what is known before it begins; pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from shared.forward_ledger import ForwardState, Reopening
from worker.operators.letters import Casualty, Kind
from worker.operators.records import Record


class Outcome(StrEnum):
    SENT = "sent"
    """Made pending again and published."""

    SENT_AGAIN = "sent_again"
    """Was pending already: published once more, not counted as a replay."""

    DELIVERED = "delivered"
    """Statsig has it: not sent, its dead letter removed."""

    IN_WORK = "in_work"
    """A worker has it right now: left where it is."""

    QUARANTINED = "quarantined"
    """Came back too often: left where it is."""

    POISON = "poison"
    MISSING = "missing"
    """Has no ledger row: left where it is."""

    LEFT = "left"
    """Not reached: beyond the limit, interrupted, or a dependency failed."""


OF_REOPENING: Final = {
    Reopening.REOPENED: Outcome.SENT,
    Reopening.PENDING: Outcome.SENT_AGAIN,
    Reopening.HELD: Outcome.IN_WORK,
    Reopening.DELIVERED: Outcome.DELIVERED,
    Reopening.QUARANTINED: Outcome.QUARANTINED,
    Reopening.MISSING: Outcome.MISSING,
}

PUBLISHED: Final = frozenset({Outcome.SENT, Outcome.SENT_AGAIN})

EXPLAINED: Final = {
    Outcome.SENT: "dead: made pending again and published",
    Outcome.SENT_AGAIN: "pending: published once more, not counted as a replay",
    Outcome.DELIVERED: "delivered already: skipped, its dead letter removed",
    Outcome.IN_WORK: "a worker has it right now: left",
    Outcome.QUARANTINED: "replayed too often: left, see its history",
    Outcome.POISON: "no forward message: never replayed, left",
    Outcome.MISSING: "no ledger row: left",
    Outcome.LEFT: "not reached: left for the next run",
}


def forecast(casualty: Casualty, record: Record | None, *, max_replays: int) -> Outcome:
    """What a replay would make of it now."""
    if casualty.latest.kind is Kind.POISON:
        return Outcome.POISON
    return forecast_row(record, max_replays=max_replays)


def forecast_row(record: Record | None, *, max_replays: int) -> Outcome:
    """As above, of an event by its record alone."""
    if record is None or record.state is None:
        return Outcome.MISSING
    if record.state is ForwardState.DELIVERED:
        return Outcome.DELIVERED
    if record.state is ForwardState.PENDING:
        return Outcome.IN_WORK if record.is_in_work else Outcome.SENT_AGAIN
    return Outcome.QUARANTINED if (record.replays or 0) >= max_replays else Outcome.SENT


def histogram(outcomes: Iterable[tuple[Outcome, str]]) -> list[tuple[Outcome, str, int]]:
    """Counted by outcome and reason: outcomes in their order, the most frequent reason first."""
    counts: Mapping[tuple[Outcome, str], int] = Counter(outcomes)
    order = list(Outcome)
    return sorted(
        ((outcome, reason, count) for (outcome, reason), count in counts.items()),
        key=lambda row: (order.index(row[0]), -row[2], row[1]),
    )

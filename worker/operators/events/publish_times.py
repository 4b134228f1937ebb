"""When an event was published to Pub/Sub, as far as that is recorded; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.events.attempt_history import HistoryKind
from shared.events.dead_letter_table import DeadLetterRow
from worker.dead_letter_messages import published_at
from worker.operators.events.history import attempts_without_history
from worker.operators.events.records import Record
from worker.operators.terminal.durations import moment

BY_INGRESS_WITHIN: Final = timedelta(seconds=10)
"""A publish this soon after the commit is the ingress's: it publishes at once or not at all, and the reconciler waits
longer than this (RECONCILE_AFTER_SECONDS)."""

_UNRECORDED: Final = "by the ingress right after the commit, unless that failed; the time is not recorded"


@dataclass(frozen=True, slots=True)
class PublishTimes:
    at: datetime | None
    """When the ingress published it; None where that is not recorded."""

    sentence: str


def publish_times(record: Record, letters: Sequence[DeadLetterRow]) -> PublishTimes:
    """All publishes of the event that are recorded.

    A publish leaves its time in two places only: in the dead letter of the message that died, and, where the reconciler
    made it, in the ledger row.
    """
    if not record.forward_to_statsig:
        return PublishTimes(None, _later(record))
    recorded = sorted(at for letter in letters if (at := published_at(letter)) is not None)
    first = next((at for at in recorded if _is_by_ingress(record, at)), None)
    parts = [_UNRECORDED if first is None else f"by the ingress at {moment(first)} (from its dead letter)"]
    parts += [f"by a replay or the reconciler at {moment(at)} (from its dead letter)" for at in recorded if at != first]
    return PublishTimes(first, "; ".join([*parts, *_by_reconciler(record)]))


def _by_reconciler(record: Record) -> list[str]:
    if record.republished_at is None:
        return []
    times = f", {record.republished} times so far" if (record.republished or 0) > 1 else ""
    return [f"by the reconciler, last at {moment(record.republished_at)}{times}"]


def _later(record: Record) -> str:
    """The publishes of an event that was stored only at first. Its dead letters add nothing that is not here."""
    if record.state is None:
        return "never: it was not to be forwarded"
    forwarded = next((entry.at for entry in record.history if entry.kind is HistoryKind.FORWARD), None)
    parts = ["by `nest-events forward`" + ("" if forwarded is None else f" at {moment(forwarded)}")]
    return "; ".join([*parts, *_by_reconciler(record)])


def first_attempt_at(record: Record) -> datetime | None:
    """When the first attempt was made; None where there was none, or the history does not have it."""
    if attempts_without_history(record):
        return None
    return next((entry.at for entry in record.history if entry.kind is HistoryKind.ATTEMPT), None)


def _is_by_ingress(record: Record, at: datetime) -> bool:
    replays = [entry.at for entry in record.history if entry.kind is HistoryKind.REPLAY and entry.at is not None]
    return at - record.ingested_at <= BY_INGRESS_WITHIN and all(at < replayed for replayed in replays)

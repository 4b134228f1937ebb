"""When an event was published to Pub/Sub, as far as anything tells; pure."""

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
"""Of the commit: the ingress publishes at once or not at all, and the reconciler waits for longer than this."""

_UNNOTED: Final = "by the ingress right after the commit, unless that failed; nobody notes when"


@dataclass(frozen=True, slots=True)
class PublishTimes:
    at: datetime | None
    """Of the first publish, the ingress's; None where nothing tells it."""

    sentence: str


def publish_times(record: Record, letters: Sequence[DeadLetterRow]) -> PublishTimes:
    """What is known. Only a dead letter carries a time: of that publish whose message died, whoever made it."""
    if not record.forward_to_statsig:
        return PublishTimes(None, "never: it was not to be forwarded")
    told = sorted(at for letter in letters if (at := published_at(letter)) is not None)
    first = next((at for at in told if _is_by_ingress(record, at)), None)
    parts = [_UNNOTED if first is None else f"by the ingress at {moment(first)}, as its dead letter tells"]
    parts += [f"by a replay or the reconciler at {moment(at)}, as its dead letter tells" for at in told if at != first]
    if record.republished_at is not None:
        times = f", {record.republished} times so far" if (record.republished or 0) > 1 else ""
        parts.append(f"by the reconciler last at {moment(record.republished_at)}{times}")
    return PublishTimes(first, "; ".join(parts))


def first_attempt_at(record: Record) -> datetime | None:
    """None where there was none, or the history no longer has it."""
    if attempts_without_history(record):
        return None
    return next((entry.at for entry in record.history if entry.kind is HistoryKind.ATTEMPT), None)


def _is_by_ingress(record: Record, at: datetime) -> bool:
    replays = [entry.at for entry in record.history if entry.kind is HistoryKind.REPLAY and entry.at is not None]
    return at - record.ingested_at <= BY_INGRESS_WITHIN and all(at < replayed for replayed in replays)

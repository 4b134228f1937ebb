"""When an event was published to Pub/Sub, as far as anything tells; pure."""

from dataclasses import dataclass
from datetime import datetime

from shared.attempt_history import HistoryKind
from worker.operators.durations import moment
from worker.operators.history import attempts_without_history
from worker.operators.letters import Casualty
from worker.operators.records import Record


@dataclass(frozen=True, slots=True)
class Publication:
    at: datetime | None
    """Of the first publish that anything tells of; None where nothing does."""

    sentence: str


def publication(record: Record, casualty: Casualty | None) -> Publication:
    """What is known. Only a dead letter carries the time of the publish that it came from; nobody else notes it."""
    if not record.forward_to_statsig:
        return Publication(None, "never: it was not to be forwarded")
    told = () if casualty is None else tuple(filter(None, (letter.first_published_at for letter in casualty.letters)))
    again = "" if record.republished_at is None else f"; by the reconciler last at {moment(record.republished_at)}"
    if told:
        return Publication(min(told), f"at {moment(min(told))}, as its dead letter tells{again}")
    return Publication(None, f"by the ingress right after the commit, at a time that nobody notes{again}")


def first_attempt_at(record: Record) -> datetime | None:
    """None where there was none, or the history no longer has it."""
    if attempts_without_history(record):
        return None
    return next((entry.at for entry in record.history if entry.kind is HistoryKind.ATTEMPT), None)

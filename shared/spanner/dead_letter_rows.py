"""The rows of the dead-letter table: what is read and written of them, and what they mean. Pure."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeyRange, KeySet

from shared.events.dead_letter_table import Closing, DeadLetterRow, DeadLetterSummary, LetterKind
from shared.events.forward_ledger import ForwardState

OPEN_INDEX: Final = "NestEventDeadLetterOpen"

SHARDS: Final = 16
"""Of the index on what is open, so that a wave of dead letters writes to more than one end. Nothing reads it by shard,
so that another number needs no more than this."""

SUMMARY_COLUMNS: Final = ("subject", "message_id", "kind", "reason", "dead_at", "event_id", "event_name", "caller")
ROW_COLUMNS: Final = (*SUMMARY_COLUMNS, "data", "attributes", "collected_at", "closed_at", "closed_by")
INSERTED_COLUMNS: Final = (*ROW_COLUMNS, "open_shard")
PLACE_COLUMNS: Final = ("subject", "message_id", "dead_at", "open_shard")
CLOSED_COLUMNS: Final = ("subject", "message_id", "open_shard", "closed_at", "closed_by")
LEDGER_COLUMNS: Final = ("event_id", "state", "pending_since", "replays")

_LIMITS: Final = {"reason": 64, "event_id": 36, "event_name": 256, "message_id": 64}
"""The columns': anybody may have written what is in a message."""


@dataclass(frozen=True, slots=True)
class Place:
    """As PLACE_COLUMNS has it."""

    subject: str
    message_id: str
    dead_at: datetime
    open_shard: int | None

    @property
    def age(self) -> tuple[datetime, str]:
        """What orders letters of one subject."""
        return (self.dead_at, self.message_id)


@dataclass(frozen=True, slots=True)
class Collected:
    """What a call of `collect` writes."""

    inserts: list[tuple[object, ...]]
    closings: list[tuple[object, ...]]


def of_subjects(subjects: Iterable[str]) -> KeySet:
    """All letters of each."""
    ranges = [KeyRange(start_closed=[subject], end_closed=[subject]) for subject in sorted(set(subjects))]
    return KeySet(ranges=ranges)


def collected(
    letters: Iterable[DeadLetterRow],
    places: Iterable[Place],
    ledger: Mapping[str, Sequence[Any]],
    callers: Mapping[str, str | None],
) -> Collected:
    """`places` are the letters of the same subjects that are there, `ledger` rows of LEDGER_COLUMNS by event_id."""
    there = list(places)
    known = {(place.subject, place.message_id) for place in there}
    open_by_subject = {place.subject: place for place in there if place.open_shard is not None}
    inserted: dict[tuple[str, str], tuple[DeadLetterRow, Closing | None]] = {}
    closings: list[tuple[object, ...]] = []
    for letter in letters:
        key = (letter.subject, letter.message_id)
        if key in known:
            continue
        known.add(key)
        place = Place(*key, letter.dead_at, _shard(letter.subject))
        closed_by = _closed_by_ledger(letter, ledger.get(letter.subject))
        rival = open_by_subject.get(letter.subject)
        if closed_by is None and rival is not None and rival.age > place.age:
            closed_by = Closing.SUPERSEDED
        inserted[key] = (letter, closed_by)
        if closed_by is not None:
            continue
        open_by_subject[letter.subject] = place
        if rival is None:
            continue
        rival_key = (rival.subject, rival.message_id)
        if rival_key in inserted:
            inserted[rival_key] = (inserted[rival_key][0], Closing.SUPERSEDED)
        else:
            closings.append(closing(*rival_key, Closing.SUPERSEDED))
    rows = [_inserted(replace(each, caller=callers.get(each.event_id or "")), by) for each, by in inserted.values()]
    return Collected(rows, closings)


def closing(subject: str, message_id: str, by: Closing) -> tuple[object, ...]:
    return (subject, message_id, None, COMMIT_TIMESTAMP, by.value)


def summary(row: Sequence[Any]) -> DeadLetterSummary:
    """Of SUMMARY_COLUMNS."""
    return DeadLetterSummary(**_summary_values(row))


def letter(row: Sequence[Any]) -> DeadLetterRow:
    """Of ROW_COLUMNS."""
    data, attributes, collected_at, closed_at, closed_by = row[len(SUMMARY_COLUMNS) :]
    return DeadLetterRow(
        **_summary_values(row[: len(SUMMARY_COLUMNS)]),
        data=base64.b64decode(data),
        attributes=dict(zip(attributes[::2], attributes[1::2], strict=True)),
        collected_at=collected_at,
        closed_at=closed_at,
        closed_by=None if closed_by is None else Closing(closed_by),
    )


def _summary_values(row: Sequence[Any]) -> dict[str, Any]:
    values = dict(zip(SUMMARY_COLUMNS, row, strict=True))
    return values | {"kind": LetterKind(values["kind"])}


def _inserted(letter: DeadLetterRow, closed_by: Closing | None) -> tuple[object, ...]:
    return (
        letter.subject,
        _fit("message_id", letter.message_id),
        letter.kind.value,
        _fit("reason", letter.reason),
        letter.dead_at,
        _fit("event_id", letter.event_id),
        _fit("event_name", letter.event_name),
        letter.caller,
        base64.b64encode(letter.data).decode(),  # the wire's form of BYTES
        [text for pair in letter.attributes.items() for text in pair],
        COMMIT_TIMESTAMP,
        None if closed_by is None else COMMIT_TIMESTAMP,
        None if closed_by is None else closed_by.value,
        _shard(letter.subject) if closed_by is None else None,
    )


def _closed_by_ledger(letter: DeadLetterRow, row: Sequence[Any] | None) -> Closing | None:
    if row is None or letter.kind is LetterKind.POISON:
        return None
    _, state, pending_since, replays = row
    if state == ForwardState.DELIVERED:
        return Closing.DELIVERED
    # Pending since after it died: of this death a replay has taken care already.
    is_replayed = state == ForwardState.PENDING and replays and pending_since > letter.dead_at
    return Closing.REPLAYED if is_replayed else None


def _fit(column: str, text: str | None) -> str | None:
    return None if text is None else text[: _LIMITS[column]]


def _shard(subject: str) -> int:
    return UUID(subject).int % SHARDS

"""Rows of the dead-letter table: the columns that are read and written, and which letters a new one closes. Pure."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeyRange, KeySet

from shared.events.dead_letter_table import Closing, DeadLetterRow, DeadLetterSummary, LetterKind
from shared.events.forward_ledger import ForwardState

OPEN_INDEX: Final = "NestEventDeadLetterOpen"

SHARDS: Final = 16
"""Shards of the index of open letters, so that many letters at once are not all written to one end of it. The index is
not read by shard, so this number can be changed at any time."""

SUMMARY_COLUMNS: Final = ("subject", "message_id", "kind", "reason", "dead_at", "event_id", "event_name", "caller")
ROW_COLUMNS: Final = (*SUMMARY_COLUMNS, "data", "attributes", "collected_at", "closed_at", "closed_by")
INSERTED_COLUMNS: Final = (*ROW_COLUMNS, "open_shard")
CLOSED_COLUMNS: Final = ("subject", "message_id", "open_shard", "closed_at", "closed_by")

_LIMITS: Final = {"reason": 64, "event_id": 36, "event_name": 256, "message_id": 64}
"""Lengths of the columns. A message may come from any publisher, so its texts are cut to them."""


class Place(NamedTuple):
    """The columns that order the letters of a subject and show which one is open."""

    subject: str
    message_id: str
    dead_at: datetime
    open_shard: int | None

    @property
    def age(self) -> tuple[datetime, str]:
        """Sorts the letters of one subject, the oldest first."""
        return (self.dead_at, self.message_id)


class LedgerRow(NamedTuple):
    """The columns of a letter's ledger row that decide whether the letter is open."""

    event_id: str
    state: str
    pending_since: datetime | None
    replays: int


PLACE_COLUMNS: Final = Place._fields
LEDGER_COLUMNS: Final = LedgerRow._fields


@dataclass(frozen=True, slots=True)
class Collected:
    """The rows that a call of `collect` writes: of INSERTED_COLUMNS and of CLOSED_COLUMNS."""

    inserts: list[tuple[object, ...]]
    closings: list[tuple[object, ...]]


def of_subjects(subjects: Iterable[str]) -> KeySet:
    """The keys of all letters of these subjects."""
    ranges = [KeyRange(start_closed=[subject], end_closed=[subject]) for subject in sorted(set(subjects))]
    return KeySet(ranges=ranges)


def collected(
    letters: Iterable[DeadLetterRow],
    places: Iterable[Place],
    ledger: Mapping[str, LedgerRow],
    callers: Mapping[str, str | None],
) -> Collected:
    """The rows to write for letters; `places` are the table's letters of the same subjects.

    `ledger` and `callers` are by event_id.
    """
    existing = list(places)
    known = {(place.subject, place.message_id) for place in existing}
    open_by_subject = {place.subject: place for place in existing if place.open_shard is not None}
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
    """A row of CLOSED_COLUMNS."""
    return (subject, message_id, None, COMMIT_TIMESTAMP, by.value)


def summary(row: Sequence[Any]) -> DeadLetterSummary:
    """The summary in a row of SUMMARY_COLUMNS."""
    return DeadLetterSummary(**_summary_values(dict(zip(SUMMARY_COLUMNS, row, strict=True))))


def letter(row: Sequence[Any]) -> DeadLetterRow:
    """The letter in a row of ROW_COLUMNS."""
    values = dict(zip(ROW_COLUMNS, row, strict=True))
    attributes, closed_by = values["attributes"], values["closed_by"]
    return DeadLetterRow(
        **_summary_values(values),
        data=base64.b64decode(values["data"]),
        attributes=dict(zip(attributes[::2], attributes[1::2], strict=True)),
        collected_at=values["collected_at"],
        closed_at=values["closed_at"],
        closed_by=None if closed_by is None else Closing(closed_by),
    )


def _summary_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {column: values[column] for column in SUMMARY_COLUMNS} | {"kind": LetterKind(values["kind"])}


def _inserted(letter: DeadLetterRow, closed_by: Closing | None) -> tuple[object, ...]:
    """A row of INSERTED_COLUMNS."""
    values: dict[str, object] = {
        "subject": letter.subject,
        "message_id": _fit("message_id", letter.message_id),
        "kind": letter.kind.value,
        "reason": _fit("reason", letter.reason),
        "dead_at": letter.dead_at,
        "event_id": _fit("event_id", letter.event_id),
        "event_name": _fit("event_name", letter.event_name),
        "caller": letter.caller,
        "data": base64.b64encode(letter.data).decode(),  # the wire's form of BYTES
        "attributes": [text for pair in letter.attributes.items() for text in pair],
        "collected_at": COMMIT_TIMESTAMP,
        "closed_at": None if closed_by is None else COMMIT_TIMESTAMP,
        "closed_by": None if closed_by is None else closed_by.value,
        "open_shard": _shard(letter.subject) if closed_by is None else None,
    }
    return tuple([values[column] for column in INSERTED_COLUMNS])


def _closed_by_ledger(letter: DeadLetterRow, row: LedgerRow | None) -> Closing | None:
    if row is None or letter.kind is LetterKind.POISON:
        return None
    if row.state == ForwardState.DELIVERED:
        return Closing.DELIVERED
    # Pending since a time after its death: a replay has taken care of this letter already.
    is_replayed = row.state == ForwardState.PENDING and row.replays > 0
    is_over = is_replayed and row.pending_since is not None and row.pending_since > letter.dead_at
    return Closing.REPLAYED if is_over else None


def _fit(column: str, text: str | None) -> str | None:
    return None if text is None else text[: _LIMITS[column]]


def _shard(subject: str) -> int:
    return UUID(subject).int % SHARDS

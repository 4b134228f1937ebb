"""Which dead letters a command is about, parsed from its options. Pure, except that it reads the file of ids."""

import re
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from shared.events.dead_letter_table import LetterChoice
from worker.dead_letter_messages import poison_subject
from worker.operators.dead_letters.filters import Filters
from worker.operators.events.records import Record
from worker.operators.exit_codes import UsageError
from worker.operators.terminal.durations import moment, parse_moment

_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
"""An event id, or the message id of poison."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Every filter that is set must match; one of its values is enough."""

    reasons: frozenset[str] = frozenset()
    event_names: frozenset[str] = frozenset()
    callers: frozenset[str] = frozenset()
    dead_until: datetime | None = None
    dead_after: datetime | None = None
    ids: frozenset[str] | None = None

    def of_letters(self) -> LetterChoice:
        """The choice as the dead-letter table takes it. An id is that of an event, or the message id of poison."""
        subjects = None if self.ids is None else self.ids | {poison_subject(each) for each in self.ids}
        return LetterChoice(
            reasons=self.reasons,
            event_names=self.event_names,
            callers=self.callers,
            dead_until=self.dead_until,
            dead_after=self.dead_after,
            subjects=subjects,
        )

    def takes_row(self, record: Record) -> bool:
        """Whether a dead event without a dead letter matches, by its rows."""
        died_at = record.settled_at or record.read_at
        return (
            (not self.reasons or record.last_reason in self.reasons)
            and (not self.event_names or record.event_name in self.event_names)
            and (not self.callers or record.caller in self.callers)
            and (self.dead_until is None or died_at <= self.dead_until)
            and (self.dead_after is None or died_at > self.dead_after)
            and (self.ids is None or record.event_id in self.ids)
        )

    def as_dict(self) -> dict[str, Any]:
        """The filters that are set, for the audit line; of ids their number."""
        given: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if isinstance(value, datetime):
                given[name] = moment(value)
            elif name == "ids" and value is not None:
                given[name] = len(value)
            elif value:
                given[name] = sorted(value)
        return given


def selection(filters: Filters, *, now: datetime) -> Selection:
    """Parse the options as typed; ages count back from `now`.

    Raises:
        UsageError: a time or the file of ids is wrong, or no dead letter could match.
    """
    chosen = Selection(
        reasons=frozenset(filters.reason or ()),
        event_names=frozenset(filters.event_name or ()),
        callers=frozenset(filters.caller or ()),
        dead_until=None if filters.older_than is None else parse_moment(filters.older_than, now=now),
        dead_after=None if filters.younger_than is None else parse_moment(filters.younger_than, now=now),
        ids=None if filters.ids_from is None else read_ids(filters.ids_from),
    )
    if chosen.dead_until is not None and chosen.dead_after is not None and chosen.dead_until <= chosen.dead_after:
        raise UsageError("--younger-than must reach further back than --older-than: otherwise nothing is both")
    return chosen


def read_ids(source: str) -> frozenset[str]:
    """Read ids from a file, one per line; `-` is stdin. Empty lines and comments after a # are skipped.

    Raises:
        UsageError: the file cannot be read, is not text or has no ids, or a line is not an id.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--ids-from {source}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"--ids-from {source}: not a text file") from None
    ids: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        found = line.partition("#")[0].strip()
        if found and not _ID.fullmatch(found):
            raise UsageError(f"--ids-from {source}: line {number} is not an event id")
        ids |= {found} if found else set()
    if not ids:
        raise UsageError(f"--ids-from {source}: no ids in it")
    return frozenset(ids)

"""Which dead letters a command is about; pure but for the file of ids."""

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from worker.operators.durations import parse_age, shown
from worker.operators.exits import UsageError
from worker.operators.filters import Filters
from worker.operators.letters import Casualty
from worker.operators.records import Record

_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
"""Event ids, and the message ids of poison."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Every filter that is set must match; of one filter's values, any."""

    reasons: frozenset[str] = frozenset()
    event_names: frozenset[str] = frozenset()
    callers: frozenset[str] = frozenset()
    older_than: timedelta | None = None
    younger_than: timedelta | None = None
    ids: frozenset[str] | None = None

    def takes(self, casualty: Casualty, record: Record | None, now: datetime) -> bool:
        latest = casualty.latest
        return self._takes(
            reasons={letter.reason for letter in casualty.letters},
            name=latest.event_name,
            caller=None if record is None else record.caller,
            age=now - casualty.dead_at,
            ids={casualty.subject, latest.event_id},
        )

    def takes_row(self, record: Record) -> bool:
        """As above for a dead event whose dead letter is gone: by what the ledger says."""
        return self._takes(
            reasons={record.last_reason or ""},
            name=record.event_name,
            caller=record.caller,
            age=record.read_at - (record.settled_at or record.read_at),
            ids={record.event_id},
        )

    def _takes(
        self, *, reasons: set[str], name: str | None, caller: str | None, age: timedelta, ids: set[str | None]
    ) -> bool:
        return (
            (not self.reasons or bool(reasons & self.reasons))
            and (not self.event_names or name in self.event_names)
            and (not self.callers or caller in self.callers)
            and (self.older_than is None or age >= self.older_than)
            and (self.younger_than is None or age < self.younger_than)
            and (self.ids is None or bool(ids & self.ids))
        )

    def as_dict(self) -> dict[str, Any]:
        """For the audit line: only what is set; of many ids their number."""
        given: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if isinstance(value, timedelta):
                given[name] = shown(value)
            elif name == "ids" and value is not None:
                given[name] = len(value)
            elif value:
                given[name] = sorted(value)
        return given


def selection(filters: Filters) -> Selection:
    """From the options as typed.

    Raises:
        UsageError: an age or the file of ids is wrong, or no letter could match.
    """
    chosen = Selection(
        reasons=frozenset(filters.reason or ()),
        event_names=frozenset(filters.event_name or ()),
        callers=frozenset(filters.caller or ()),
        older_than=None if filters.older_than is None else parse_age(filters.older_than),
        younger_than=None if filters.younger_than is None else parse_age(filters.younger_than),
        ids=None if filters.ids_from is None else read_ids(filters.ids_from),
    )
    if chosen.older_than is not None and chosen.younger_than is not None and chosen.younger_than <= chosen.older_than:
        raise UsageError("--younger-than must be longer than --older-than: nothing is both")
    return chosen


def read_ids(source: str) -> frozenset[str]:
    """Ids, one a line; `-` is stdin. Empty lines and what follows a # are passed over.

    Raises:
        UsageError: no such file, no text, no ids, or a line that is no id.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--ids-from {source}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"--ids-from {source}: is not a text file") from None
    ids: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        found = line.partition("#")[0].strip()
        if found and not _ID.fullmatch(found):
            raise UsageError(f"--ids-from {source}: line {number} is not an event id")
        ids |= {found} if found else set()
    if not ids:
        raise UsageError(f"--ids-from {source}: holds no ids")
    return frozenset(ids)


def selected(
    casualties: list[Casualty], records: Mapping[str, Record], choice: Selection, now: datetime
) -> list[Casualty]:
    """In the order given."""
    return [each for each in casualties if choice.takes(each, records.get(each.latest.event_id or ""), now)]

"""The dead-letter table, from which operators list, show, count and replay dead letters. The port and its types.

The worker collects all messages of the dead-letter subscription here. A subscription could not answer operators: a pull
returns some of its messages, and hides from others what it has leased.
"""

import enum
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

DEAD_LETTER_TABLE: Final = "NestEventDeadLetter"


class LetterKind(enum.StrEnum):
    REASONED = "reasoned"
    """Dead-lettered by the worker, with its reason."""

    NATIVE = "native"
    """Dead-lettered by Pub/Sub itself after too many deliveries, without a reason."""

    POISON = "poison"
    """Bytes that are not a forward message, whether dead-lettered by the worker or by Pub/Sub. Never replayed."""


class Closing(enum.StrEnum):
    """Why a dead letter is no longer open."""

    REPLAYED = "replayed"
    DELIVERED = "delivered"
    """Statsig has confirmed the event."""

    SUPERSEDED = "superseded"
    """There is a later dead letter of the same event."""

    DISCARDED = "discarded"
    """An operator discarded it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSummary:
    """The fields by which letters are counted and chosen."""

    subject: str
    """The event_id; for poison a UUID made from the message id. At most one letter of a subject is open."""

    message_id: str
    """Pub/Sub's message id on the dead-letter topic."""

    kind: LetterKind
    reason: str
    """A stable word of 64 characters at most, such as `http_400` or `native`."""

    dead_at: datetime
    """Aware. The time that the worker noted in the message, else its publish time on the dead-letter topic."""

    event_id: str | None
    """For poison the message's attribute of that name, unchecked, if it has one."""

    event_name: str | None
    """As above."""

    caller: str | None = None
    """The caller in the event's row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRow(DeadLetterSummary):
    """One message of the dead-letter topic."""

    data: bytes
    attributes: dict[str, str]
    collected_at: datetime | None = None
    """None until the row is written."""

    closed_at: datetime | None = None
    closed_by: Closing | None = None

    @property
    def is_open(self) -> bool:
        return self.closed_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterChoice:
    """A choice of open letters. Every filter that is set must match; one of its values is enough."""

    reasons: Collection[str] = ()
    event_names: Collection[str] = ()
    callers: Collection[str] = ()
    dead_until: datetime | None = None
    """Inclusive."""

    dead_after: datetime | None = None
    """Exclusive."""

    subjects: Collection[str] | None = None
    """None: all. Empty: no letter."""

    def takes(self, letter: DeadLetterSummary) -> bool:
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.event_names or letter.event_name in self.event_names)
            and (not self.callers or letter.caller in self.callers)
            and (self.dead_until is None or letter.dead_at <= self.dead_until)
            and (self.dead_after is None or letter.dead_at > self.dead_after)
            and (self.subjects is None or letter.subject in self.subjects)
        )


@dataclass(frozen=True, slots=True)
class LetterCount:
    """The number of open letters that have the first five fields in common."""

    kind: LetterKind
    reason: str
    event_name: str | None
    caller: str | None
    age: int
    """How many of the moments given to `count` are at or after `dead_at`: 0 is the youngest."""

    letters: int
    oldest: datetime


def counted(letters: Iterable[DeadLetterSummary], ages: Sequence[datetime]) -> list[LetterCount]:
    """Count letters as `DeadLetterTable.count` does, in no order."""
    groups: dict[tuple[LetterKind, str, str | None, str | None, int], list[datetime]] = {}
    for each in letters:
        age = sum(each.dead_at <= moment for moment in ages)
        groups.setdefault((each.kind, each.reason, each.event_name, each.caller, age), []).append(each.dead_at)
    return [LetterCount(*group, len(times), min(times)) for group, times in groups.items()]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Numbers by which the ledger's dead events and the open letters differ."""

    dead_without_letter: int
    """Dead events without an open letter: it is not collected yet, or it expired before that."""

    letters_without_dead: int
    """Open letters, except poison, whose event is not dead."""


class DeadLetterTable(Protocol):
    """Dead letters, open and closed. All times except `dead_at` are Spanner's own."""

    async def collect(self, letters: Sequence[DeadLetterRow]) -> int:
        """Write the letters that are not in the table yet, and return how many they were. Idempotent.

        Adds the caller from the event's row. A letter is written as closed if there is a later one of its subject, or
        if its event is delivered or was replayed since; an older open letter of the subject is closed. A letter of an
        event that was erased, and not logged again since, is not written.

        Raises:
            StorageRejectedError, StoragePreconditionError: a letter cannot be written; none was.
            StorageUnavailableError: not known whether they were written; call again.
        """
        ...

    async def count(self, choice: LetterChoice, *, ages: Sequence[datetime]) -> list[LetterCount]:
        """Count all open letters of the choice, exactly. `ages` are the moments that divide them by age.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def open(
        self,
        choice: LetterChoice,
        *,
        limit: int | None = None,
        newest: bool = False,
        after: tuple[datetime, str] | None = None,
    ) -> list[DeadLetterSummary]:
        """Read the open letters of the choice by `dead_at`, the oldest first, or with `newest` the latest first.

        `after` is `dead_at` and `subject` of the last letter of a page: the next page begins after it, in that order.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def of(self, subjects: Collection[str]) -> dict[str, list[DeadLetterRow]]:
        """Read all letters of these subjects, closed ones too, by subject, the oldest first.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def close(self, subjects: Collection[str], by: Closing) -> int:
        """Close the open letters of these subjects, and return how many they were.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def mismatch(self) -> Mismatch:
        """Compare the ledger's dead events with the open letters. Costs by their number, not by that of all events.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def dead_without_letter(self, *, after: str = "", limit: int) -> list[str]:
        """Read dead events that have no open letter, by event_id, beginning after `after`.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

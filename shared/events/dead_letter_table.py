"""Dead letters as Spanner keeps them, for operators: the port and its vocabulary.

A message that is leased from the dead-letter subscription is one of an unknown number. The worker collects all of them
here, and what operators list, show, count and replay is read from here.
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
    """Dead-lettered by Pub/Sub after too many deliveries: it gives no reason."""

    POISON = "poison"
    """Bytes that are no forward message, whoever dead-lettered them. Never replayed."""


class Closing(enum.StrEnum):
    """Why a dead letter is not open any more."""

    REPLAYED = "replayed"
    DELIVERED = "delivered"
    """Statsig has the event."""

    SUPERSEDED = "superseded"
    """A later dead letter of the same event is there."""

    DISCARDED = "discarded"
    """An operator gave it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSummary:
    """What letters are counted and chosen by."""

    subject: str
    """The event_id; of poison a UUID of the message's id. Of one subject one letter is open at the most."""

    message_id: str
    """Pub/Sub's, on the dead-letter topic."""

    kind: LetterKind
    reason: str
    """A stable word of 64 characters at most, such as `http_400` or `native`."""

    dead_at: datetime
    """Aware. As the worker noted it, else when it was published to the dead-letter topic."""

    event_id: str | None
    """Of poison what its attributes claim, where they do."""

    event_name: str | None
    caller: str | None = None
    """As the event's row has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRow(DeadLetterSummary):
    """One message of the dead-letter topic."""

    data: bytes
    attributes: dict[str, str]
    collected_at: datetime | None = None
    """None before it is collected."""

    closed_at: datetime | None = None
    closed_by: Closing | None = None

    @property
    def is_open(self) -> bool:
        return self.closed_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterChoice:
    """Which open letters: every filter that is set must match; of one filter's values, any."""

    reasons: Collection[str] = ()
    event_names: Collection[str] = ()
    callers: Collection[str] = ()
    dead_until: datetime | None = None
    """Dead at that time or before."""

    dead_after: datetime | None = None
    subjects: Collection[str] | None = None

    def takes(self, letter: DeadLetterSummary) -> bool:
        """Whether every filter matches."""
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
    """Open letters that are alike in all of these."""

    kind: LetterKind
    reason: str
    event_name: str | None
    caller: str | None
    age: int
    """How many of the given moments lie after its death: 0 is the youngest."""

    letters: int
    oldest: datetime


def counted(letters: Iterable[DeadLetterSummary], ages: Sequence[datetime]) -> list[LetterCount]:
    """As `DeadLetterTable.count` counts them, in no order."""
    groups: dict[tuple[LetterKind, str, str | None, str | None, int], list[datetime]] = {}
    for each in letters:
        age = sum(each.dead_at <= moment for moment in ages)
        groups.setdefault((each.kind, each.reason, each.event_name, each.caller, age), []).append(each.dead_at)
    return [LetterCount(*group, len(times), min(times)) for group, times in groups.items()]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where the ledger and the open letters differ."""

    dead_without_letter: int
    """Dead events whose dead letter is not collected, or has expired before it was."""

    letters_without_dead: int
    """Letters, poison aside, whose events are delivered or pending by now."""


class DeadLetterTable(Protocol):
    """All times are Spanner's own but `dead_at`."""

    async def collect(self, letters: Sequence[DeadLetterRow]) -> int:
        """Keep letters; returned is how many were not there yet. A letter that is there already is left as it is.

        The caller is added from the event's row. A letter is closed from the beginning where a later one of its
        subject is there, or where its event is delivered or has been replayed since; an older one that is open is
        closed.

        Raises:
            StorageRejectedError, StoragePreconditionError: one of them cannot be kept; none is.
            StorageUnavailableError: not known whether they were kept; call again.
        """
        ...

    async def count(self, choice: LetterChoice, *, ages: Sequence[datetime]) -> list[LetterCount]:
        """The open letters of the choice, exactly and all; `ages` are moments to tell ages apart by, latest first.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def open(
        self, choice: LetterChoice, *, limit: int | None = None, newest: bool = False
    ) -> list[DeadLetterSummary]:
        """The open letters of the choice, those that died first coming first, or last with `newest`.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def of(self, subjects: Collection[str]) -> dict[str, list[DeadLetterRow]]:
        """All letters of these subjects, closed ones too, by subject, the oldest first. Reads by key.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def close(self, subjects: Collection[str], by: Closing) -> int:
        """Close what is open of these subjects; returned is how many were.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def mismatch(self) -> Mismatch:
        """How many dead events have no open letter, and the reverse. Reads two indexes: what is dead and what is open.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def dead_without_letter(self, *, after: str = "", limit: int) -> list[str]:
        """Dead events that have no open letter, by event_id from `after` on, which is left out.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

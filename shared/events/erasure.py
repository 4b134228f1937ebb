"""Erasure: deletes the events of an actor, so that no message of theirs brings anything back. The port and its types.

The ids of erased events are kept for a while, and nothing else of them. A claim of one is ClaimOutcome.ERASED, and a
dead letter of one is not collected.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

ERASED_TABLE: Final = "NestEventErased"

ERASER: Final = "nest-events erase"
"""The claim token of every erasure, so that another run goes on with the claims of one that was killed."""

HELD_ON_SECONDS: Final = 30.0
"""How long a claim that was taken over is held beyond its end. An erasure looks every second or so, and may meet some
seconds without an answer from Spanner."""


class EventState(enum.StrEnum):
    """What became of an event before it was erased."""

    NOT_FORWARDED = "not_forwarded"
    """Logged as not to be forwarded, and without a ledger row. An operator may have forwarded it over 90 days ago."""

    PENDING = "pending"
    """No worker has it."""

    IN_FLIGHT = "in_flight"
    """Under a live claim: a worker may be sending it."""

    DELIVERED = "delivered"
    DEAD = "dead"

    SETTLED_LONG_AGO = "settled_long_ago"
    """Delivered or dead; its ledger row was deleted by its row deletion policy."""


@dataclass(frozen=True, slots=True)
class ActorEvent:
    event_id: str
    ingested_at: datetime


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the search for an actor's events has come. Only to be passed back."""

    shard: int
    after: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """One step of the search."""

    events: Sequence[ActorEvent]
    looked_at: int
    """Events of any actor that the step went through."""

    cursor: Cursor | None
    """Where to search on; None if that was all."""


@dataclass(frozen=True, slots=True)
class Found:
    """Events and their dead letters, before they were erased."""

    states: Mapping[str, EventState]
    """By event_id; without events that do not exist, or no longer."""

    dead_letters: int
    """Open and closed ones, of all these events but those in flight."""


class Erasure(Protocol):
    """Used only by `nest-events erase`. All times are Spanner's own."""

    async def search(self, actor_id: str, *, before: datetime, cursor: Cursor | None = None) -> Page:
        """Take one step through the whole log, for the actor's events that were ingested before a time.

        Bounded in time, and of low priority. Begins at the beginning without a cursor. An event that is deleted
        meanwhile hides no other.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def look(self, event_ids: Sequence[str]) -> Found:
        """Say what `erase` would find, and change nothing.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def erase(self, event_ids: Sequence[str]) -> Found:
        """Delete the events' log rows, ledger rows and dead letters and keep their ids, in one transaction. Idempotent.

        An event in flight is left, and ERASER takes its claim: from then on its worker begins no other attempt, and no
        worker claims it. The attempt that has begun ends within the claim that it was begun under. A later call, of any
        process, erases the event once that claim has ended. If none comes within HELD_ON_SECONDS of it, workers may
        claim the event again.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

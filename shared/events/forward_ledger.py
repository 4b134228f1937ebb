"""The forward ledger: the delivery state of every event that is to be forwarded. The port and its types."""

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol
from zlib import crc32

from shared.events.attempt_history import History

LEDGER_TABLE: Final = "NestEventForward"

LEDGER_RETENTION: Final = timedelta(days=90)
"""As in deploy/spanner/: a row is deleted when it has been settled for so long, and not before. So an event that is
younger has its row, if it ever had one."""

DEFAULT_SHARDS: Final = 32
"""Shards of the indexes by time: enough for some tens of Spanner nodes, few enough to read them all in turn."""


def forward_shard(event_id: str, *, shards: int = DEFAULT_SHARDS) -> int:
    """The event's shard in the indexes by time.

    Event ids are random, and so are their checksums; parsing the UUID would take ten times as long.
    """
    return crc32(event_id.encode()) % shards


class ForwardState(enum.StrEnum):
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


class ClaimOutcome(enum.StrEnum):
    """What a claim of an event found."""

    CLAIMED = "claimed"
    """Pending, and now claimed by the caller."""

    DELIVERED = "delivered"
    DEAD = "dead"

    CLAIMED_ELSEWHERE = "claimed_elsewhere"
    """Pending, under a live claim of another batch."""

    WAITING = "waiting"
    """Pending, set aside as a suspect, and not to be tried yet."""

    ERASED = "erased"
    """No ledger row: an operator erased the event (shared/events/erasure.py)."""

    MISSING = "missing"
    """No ledger row for another reason: never committed, deleted, or not to be forwarded."""


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """A ledger row after a claim."""

    event_id: str
    outcome: ClaimOutcome
    attempts: int = 0
    possible_duplicates: int = 0
    history: History = ()

    alone_failures: int = 0
    """How often the event failed alone while others were confirmed."""

    is_suspect: bool = False
    """Claimed, and set aside as a suspect before."""

    is_resumed: bool = False
    """Claimed, and until now under a claim that `own` named: the process may know of attempts that the row lacks."""

    given_up_reason: str | None = None
    """Claimed, and given up before: its dead letter is to be published, and it is not to be sent."""

    pending_since: datetime | None = field(default=None, compare=False)
    """When the event was committed or reopened for a replay; None if it is not pending. Used for metrics only, hence
    not compared."""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """The attempts on one event, as the ledger records them."""

    event_id: str

    attempts: int
    """All attempts on the event so far, earlier claims included."""

    possible_duplicates: int
    """Attempts so far with an unknown outcome, and expired claims that were taken over; earlier claims included."""

    last_attempt_at: datetime | None
    """Aware. None if nothing was sent under this claim."""

    reason: str
    """The outcome of the last attempt, or of a dead event its reason: a stable word of at most 64 characters, such as
    `http_503` or `exhausted`."""

    status: int | None
    """The HTTP status of the last attempt, if there was one."""

    history: History
    """The whole history, earlier claims included: it replaces the row's."""

    alone_failures: int = 0
    """How often the event failed alone while others were confirmed, earlier claims included."""

    wait_seconds: float | None = None
    """For `release`: set the event aside as a suspect, not to be tried again before so many seconds. None: no
    suspect."""


class ForwardLedger(Protocol):
    """Which batch may send an event, and the outcome. All times are Spanner's own, but for those of attempts.

    Two more ports work on the same rows: `shared/events/republish_ledger.py` publishes pending events again, and
    `shared/events/replay_ledger.py` makes dead events pending again.
    """

    async def claim(
        self, event_ids: Sequence[str], *, token: str, seconds: float, own: Mapping[str, Collection[str]] | None = None
    ) -> dict[str, ClaimResult]:
        """Claim the events that are pending and not under another live claim, for `seconds`; one result per event.

        Each event is read and claimed in one transaction. Many events are divided among concurrent transactions, so
        the call as a whole is not atomic.

        Claiming again with the same token extends the claim. Taking over an expired claim of another token adds one
        possible duplicate and a history entry: its holder may have sent the event and died before it settled. Of an
        event that was given up every attempt is written, so its expired claim adds neither.

        `own` maps event_ids to earlier tokens of this process, under which it knows of every attempt. A claim with such
        a token is taken over whether it has expired or not, without a possible duplicate and without an entry.

        A suspect whose wait has not ended is WAITING and is not claimed, unless `token` holds it already.

        Raises:
            StorageUnavailableError: no answer. Some or all events may be claimed; the claims expire by themselves.
        """
        ...

    async def note(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        """Write the attempts and keep the claims, so that the attempts are not lost if the process dies.

        Returns the events that are still pending under an unexpired claim of the token; no others may be sent again
        under this claim. Writes nothing for events that another batch has claimed since. Leaves what makes an event a
        suspect (`alone_failures`, `wait_seconds`) to `release`.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def give_up(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        """Write the attempts and that the events are not to be sent again, each for the reason of its record.

        They are no suspects any more.

        Called before the dead letters are published. If the process dies after that, whoever claims the event next
        finds `given_up_reason`, and publishes a dead letter instead of sending the event. It stands until the event is
        settled or replayed.

        Returns the events for which it was written: those that are pending under an unexpired claim of the token. No
        other may be dead-lettered under this claim.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def settle_delivered(
        self,
        attempts: Sequence[DeliveryRecord],
        *,
        token: str | None = None,
        seconds_left: float = 0.0,
        within_seconds: float | None = None,
    ) -> None:
        """Write the final state DELIVERED. Idempotent, and allowed after the claim has ended: delivery is a fact.

        The attempts are written too if the claim is still the token's, or if no token is given. If another batch has
        claimed the event since, only the state is written: the take-over has added a possible duplicate, which the
        attempts would overwrite.

        `seconds_left` is how long the claim lasts at least; while it exceeds the call's bound, the rows are written
        without reading them before.

        A settled event is no longer a suspect, and is not republished.

        `within_seconds` replaces the usual bound on the call to Spanner.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def settle_dead(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        """Write the final state DEAD if the claim is still the token's and has not expired.

        After that a replay may have closed the dead letter: the event would be dead with nothing left to replay.
        Returns the events for which it was written; the others stay as they are.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def release(
        self, attempts: Sequence[DeliveryRecord], *, token: str, within_seconds: float | None = None
    ) -> None:
        """Give up the token's claims and write the attempts, except for events that another batch has claimed since.

        With `wait_seconds` the event is set aside as a suspect; without, it is no longer one. If nothing was sent and
        no wait is given, only the claim is given up: a suspect stays one.

        The attempts are also written if an earlier holder has settled the event as delivered meanwhile.

        `within_seconds` replaces the usual bound on the call to Spanner.

        Raises:
            StorageUnavailableError: not known whether it was written; the claims then expire by themselves.
        """
        ...

    async def oldest_pending_seconds(self) -> float | None:
        """How long the oldest pending event has been pending; None if nothing is pending.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

"""The forward ledger: the delivery state of every event that is to be forwarded. The port and its vocabulary."""

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol
from zlib import crc32

from shared.events.attempt_history import History

LEDGER_TABLE: Final = "NestEventForward"


DEFAULT_SHARDS: Final = 32
"""Of the indexes by time. Enough for some tens of nodes, and few enough that a round over all of them stays cheap."""


def forward_shard(event_id: str, *, shards: int = DEFAULT_SHARDS) -> int:
    """Where the event lies in the indexes by time, which have so many shards.

    Ids are random, and so is their checksum; a UUID parsed takes ten times as long.
    """
    return crc32(event_id.encode()) % shards


class ForwardState(enum.StrEnum):
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


class ClaimOutcome(enum.StrEnum):
    """What a claim found."""

    CLAIMED = "claimed"
    """Pending, and now ours until the claim expires."""

    DELIVERED = "delivered"
    DEAD = "dead"

    CLAIMED_ELSEWHERE = "claimed_elsewhere"
    """Pending, and claimed by another batch that may still be at work."""

    WAITING = "waiting"
    """Pending, stepped aside as a suspect, and not to be tried yet."""

    MISSING = "missing"
    """No ledger row: never committed, deleted, or not to be forwarded."""


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """A ledger row as a claim found it."""

    event_id: str
    outcome: ClaimOutcome
    attempts: int = 0
    possible_duplicates: int = 0
    history: History = ()
    """What was noted so far; what is noted next goes behind it."""

    alone_failures: int = 0
    """How often the event failed alone while others were confirmed."""

    is_suspect: bool = False
    """It stepped aside before, and may be tried again now."""

    is_resumed: bool = False
    """It was still under one of the claims that `own` named: whoever holds it knows more of it than the row says."""

    pending_since: datetime | None = field(default=None, compare=False)
    """When the event was committed, or reopened for a replay; None where it is not pending. For measuring alone, so
    that two entries that differ in nothing else are equal."""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """What is noted of the attempts that one claim covered."""

    event_id: str

    attempts: int
    """All attempts on the event so far, earlier claims included."""

    possible_duplicates: int
    """Attempts so far whose outcome nobody could know."""

    last_attempt_at: datetime | None
    """Aware. None where the claim ended before anything was sent."""

    reason: str
    """A stable word of 64 characters at most, such as `http_503`."""

    status: int | None
    """The HTTP status of the last attempt, where there was one."""

    history: History
    """All of it, earlier claims included: it replaces what the row has."""

    alone_failures: int = 0
    """How often the event failed alone while others were confirmed, earlier claims included."""

    wait_seconds: float | None = None
    """None: not a suspect. Else it steps aside, not to be tried again before that many seconds from now."""


class ForwardLedger(Protocol):
    """Who may send an event, and what became of it. All times are Spanner's own.

    Two more ports see the same rows: shared/events/republish_ledger.py publishes again what stayed pending, and
    shared/events/replay_ledger.py makes dead events pending again.
    """

    async def claim(
        self, event_ids: Sequence[str], *, token: str, seconds: float, own: Mapping[str, Collection[str]] | None = None
    ) -> dict[str, ClaimResult]:
        """Claim what is pending and not held by another live claim; tell where the rest stands.

        Each event is read and claimed in one transaction, and many events in several, side by side.

        Claiming again with the same token extends the claim. Taking over an expired claim counts one possible
        duplicate, and is noted in the history: its holder may have sent the event and died before it could settle.

        `own` maps event_ids to earlier tokens of this process, under which it knows everything that was sent. A claim
        of such a token is taken over whether it has expired or not, and neither counted nor noted.

        A suspect whose wait has not ended is WAITING and is not claimed, unless the token holds it already.

        Raises:
            StorageUnavailableError: no answer; the claim may stand, of some events only, and then expires by itself.
        """
        ...

    async def note(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        """Write down the attempts and keep the claims: what was sent survives the process then.

        Returned are the events that are still pending and that the token holds, unexpired. No other may be sent again
        under this claim. Of what another batch has claimed since nothing is written. The suspect's part of an attempt
        is left to `release`.

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
        """Write the final state DELIVERED. Idempotent; true whoever holds the claim by now.

        The attempts are noted where the claim is still the token's. Where another batch has claimed since, its own
        account is left to it: that it took over has counted a possible duplicate, which must not be overwritten.
        `seconds_left` is what is surely left of the claim; with enough of it nothing need be read before. Without a
        token the attempts are noted in any case.

        A settled event is no suspect any more, and is not republished.

        `within_seconds` bounds the call to Spanner in place of the usual bound.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def settle_dead(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        """Write the final state DEAD where the claim is still the token's and has not expired.

        Once it has, a replay may have taken the dead letter for its own and acknowledged it: DEAD would then be an end
        without anything to replay. Returned are the events for which it was written; the others stay pending.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def release(
        self, attempts: Sequence[DeliveryRecord], *, token: str, within_seconds: float | None = None
    ) -> None:
        """Give up the token's claims and note the attempts; what another batch has claimed since is left alone.

        With `wait_seconds` the event steps aside as a suspect, without it is none any more. Where nothing was sent and
        no wait is asked for, only the claim is given up: a suspect stays one, to be tried as it was.

        Noted too where the event has been settled as delivered meanwhile, by an earlier holder.

        `within_seconds` bounds the call to Spanner in place of the usual bound.

        Raises:
            StorageUnavailableError: not known whether it was written; the claims then expire by themselves.
        """
        ...

    async def oldest_pending_seconds(self) -> float | None:
        """For how long the oldest pending event has been so; None where nothing is pending.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

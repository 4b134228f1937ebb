"""Observes the ledger: durations of its transactions, outcomes of claims, settlements, and delays of deliveries."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from shared.clock import Clock, SystemClock
from shared.events.event import Event
from shared.events.forward_ledger import ClaimOutcome, ClaimResult, DeliveryRecord, ForwardLedger, ForwardState
from shared.events.republish_ledger import Cursor, Marked, Page, Reached, RepublishLedger
from shared.events.timestamps import NANOS_PER_SECOND, from_datetime
from shared.telemetry.metrics import CLAIMED, DELIVERY_DELAY, LEDGER_DURATION, SETTLED, counter, histogram, timed
from shared.telemetry.providers import Telemetry

MAX_REMEMBERED: Final = 20_000
"""Claimed events whose delay may still be measured: eight lanes of 500, several times over. Settling or releasing an
event removes it; only a bug would fill this, and then the oldest entries are dropped."""


class ObservedForwardLedger:
    """Wraps a ForwardLedger."""

    def __init__(self, ledger: ForwardLedger, telemetry: Telemetry, *, clock: Clock | None = None) -> None:
        self._ledger = ledger
        self._clock = clock or SystemClock()
        self._pending_times = PendingTimes()
        self._delivery_delays = histogram(telemetry.meter, DELIVERY_DELAY)
        self._durations = histogram(telemetry.meter, LEDGER_DURATION)
        self._claimed = counter(telemetry.meter, CLAIMED)
        self._settled = counter(telemetry.meter, SETTLED)

    async def claim(
        self,
        event_ids: Sequence[str],
        *,
        token: str,
        seconds: float,
        own: Mapping[str, Collection[str]] | None = None,
    ) -> dict[str, ClaimResult]:
        with timed(self._durations, operation="claim"):
            entries = await self._ledger.claim(event_ids, token=token, seconds=seconds, own=own)
        for outcome, events in Counter(entry.outcome for entry in entries.values()).items():
            self._claimed.add(events, {"outcome": outcome.value})
        self._pending_times.remember(entries.values())
        return entries

    async def note(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        with timed(self._durations, operation="note"):
            return await self._ledger.note(attempts, token=token)

    async def give_up(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        with timed(self._durations, operation="give_up"):
            return await self._ledger.give_up(attempts, token=token)

    async def settle_delivered(
        self,
        attempts: Sequence[DeliveryRecord],
        *,
        token: str | None = None,
        seconds_left: float = 0.0,
        within_seconds: float | None = None,
    ) -> None:
        with timed(self._durations, operation="settle"):
            await self._ledger.settle_delivered(
                attempts, token=token, seconds_left=seconds_left, within_seconds=within_seconds
            )
        self._settled.add(len(attempts), {"state": ForwardState.DELIVERED.value})
        now_nanos = self._clock.now_nanos()
        for pending_since in self._pending_times.forget(attempts):
            # Clamped: Spanner's clock and this one differ by milliseconds.
            self._delivery_delays.record(max(0, now_nanos - from_datetime(pending_since)) / NANOS_PER_SECOND)

    async def settle_dead(self, attempts: Sequence[DeliveryRecord], *, token: str) -> set[str]:
        with timed(self._durations, operation="settle"):
            written = await self._ledger.settle_dead(attempts, token=token)
        self._pending_times.forget(attempts)
        self._settled.add(len(written), {"state": ForwardState.DEAD.value})
        return written

    async def release(
        self, attempts: Sequence[DeliveryRecord], *, token: str, within_seconds: float | None = None
    ) -> None:
        self._pending_times.forget(attempts)  # measured after the next claim
        with timed(self._durations, operation="release"):
            await self._ledger.release(attempts, token=token, within_seconds=within_seconds)

    async def oldest_pending_seconds(self) -> float | None:
        with timed(self._durations, operation="oldest_pending"):
            return await self._ledger.oldest_pending_seconds()


class PendingTimes:
    """The time since which each claimed event has been pending, until it is settled or released."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}

    def remember(self, entries: Iterable[ClaimResult]) -> None:
        self._since |= {
            entry.event_id: entry.pending_since
            for entry in entries
            if entry.outcome is ClaimOutcome.CLAIMED and entry.pending_since is not None
        }
        while len(self._since) > MAX_REMEMBERED:
            del self._since[next(iter(self._since))]

    def forget(self, attempts: Iterable[DeliveryRecord]) -> list[datetime]:
        """Remove the entries of these events and return them."""
        found = (self._since.pop(attempt.event_id, None) for attempt in attempts)
        return [since for since in found if since is not None]


class ObservedRepublishLedger:
    """Wraps a RepublishLedger."""

    def __init__(self, ledger: RepublishLedger, telemetry: Telemetry) -> None:
        self._ledger = ledger
        self._durations = histogram(telemetry.meter, LEDGER_DURATION)

    async def unpublished(
        self,
        *,
        shard: int,
        after: Cursor | None,
        older_than_seconds: float,
        limit: int,
        reached: Reached | None = None,
    ) -> Page:
        with timed(self._durations, operation="unpublished"):
            return await self._ledger.unpublished(
                shard=shard,
                after=after,
                older_than_seconds=older_than_seconds,
                limit=limit,
                reached=reached,
            )

    async def due_again(self, *, shard: int, limit: int) -> list[str]:
        with timed(self._durations, operation="due_again"):
            return await self._ledger.due_again(shard=shard, limit=limit)

    async def mark_republished(
        self,
        event_ids: Sequence[str],
        *,
        intervals: Sequence[float],
        force: bool = False,
        chosen: Callable[[Event], bool] | None = None,
        reached: Reached | None = None,
    ) -> list[Marked]:
        with timed(self._durations, operation="mark_republished"):
            return await self._ledger.mark_republished(
                event_ids, intervals=intervals, force=force, chosen=chosen, reached=reached
            )

    async def put_back(self, marked: Sequence[Marked]) -> None:
        with timed(self._durations, operation="put_back"):
            await self._ledger.put_back(marked)

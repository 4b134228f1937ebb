"""Settling: writes the outcomes of events to the ledger, also when Spanner is away for a while.

An outcome that cannot be written is remembered. When the event's message comes back to this process, a remembered
confirmation is settled and never sent again; other attempts go on with their true counts, and add no possible
duplicate.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import stamina

from shared.clock import Clock
from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import DeliveryRecord, ForwardLedger, ForwardState
from shared.process.logs import get_logger, log_each
from worker.attempts import untried
from worker.batch import Claim
from worker.tally import Tally

PATIENCE_SECONDS: Final = 30.0
"""How long a settlement is retried before its messages are held. Their leases are extended meanwhile."""

LAST_TRY_SECONDS: Final = 1.0
"""Timeout of a release, and of the last try to settle at the end of a batch. A failed one is remembered. When the
process ends then, the event waits until its claim expires, and one possible duplicate is counted."""

MAX_REMEMBERED: Final = 200_000
"""Remembered outcomes plus the entries of their histories, some 55 MB: an hour without Spanner at the rate of an open
circuit's probes."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class UnwrittenOutcome:
    """The outcome of an event that this process could not write."""

    claim: Claim
    record: DeliveryRecord | None
    """None if the ledger has every attempt."""

    state: ForwardState
    """DELIVERED: confirmed. DEAD: its dead letter is published. PENDING: neither."""

    tokens: frozenset[str]
    """Every claim token under which the row may stand; several if the answer to a later claim was lost."""


class Settling:
    """Writes to the ledger and remembers what it could not write; shared by all lanes of a process."""

    def __init__(
        self,
        ledger: ForwardLedger,
        clock: Clock,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        tally: Tally | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._tally = tally or Tally(clock)
        self._patience_seconds = patience_seconds
        self._known: dict[str, UnwrittenOutcome] = {}
        self._known_entries = 0

    def known(self, event_ids: Iterable[str]) -> dict[str, UnwrittenOutcome]:
        """Those of the events with a remembered outcome."""
        return {event_id: self._known[event_id] for event_id in event_ids if event_id in self._known}

    def forget(self, event_ids: Iterable[str]) -> None:
        for event_id in event_ids:
            known = self._known.pop(event_id, None)
            if known is not None:
                self._known_entries -= _entries(known.record)

    async def settle_delivered(self, records: Sequence[DeliveryRecord], claim: Claim) -> bool:
        """Settle as delivered, with retries; False if Spanner was away for all of them, and then it is remembered."""
        if not records:
            return True
        self._remember(records, claim, ForwardState.DELIVERED)

        async def write() -> None:
            left = claim.ends_at - self._clock.monotonic()
            await self._ledger.settle_delivered(records, token=claim.token, seconds_left=left)

        if not await self._patiently(write, self._patience_seconds, len(records)):
            return False
        self._settled(records)
        return True

    async def settle_at_the_end(self, records: Sequence[DeliveryRecord], claim: Claim) -> bool:
        """Settle as delivered in one short try; False if it failed, and then it is remembered."""
        if not records:
            return True
        self._remember(records, claim, ForwardState.DELIVERED)
        left = claim.ends_at - self._clock.monotonic()
        try:
            await self._ledger.settle_delivered(
                records, token=claim.token, seconds_left=left, within_seconds=LAST_TRY_SECONDS
            )
        except StorageUnavailableError:
            _log.error("settle_failed", events=len(records))
            return False
        self._settled(records)
        return True

    def _settled(self, records: Sequence[DeliveryRecord]) -> None:
        self._tally.delivered += len(records)
        self.forget(record.event_id for record in records)
        log_each(_log, "event_settled", (record.event_id for record in records))

    async def settle_remembered(self, event_ids: Collection[str]) -> tuple[set[str], set[str]]:
        """Settle remembered confirmations; returns (settled now, events without a remembered confirmation)."""
        by_claim: dict[Claim, list[DeliveryRecord]] = {}
        for known in self.known(event_ids).values():
            if known.state is ForwardState.DELIVERED and known.record is not None:
                by_claim.setdefault(known.claim, []).append(known.record)
        unknown = set(event_ids) - {record.event_id for records in by_claim.values() for record in records}
        settled: set[str] = set()
        for claim, records in by_claim.items():
            if await self.settle_delivered(records, claim):
                settled |= {record.event_id for record in records}
        return settled, unknown

    async def give_up(self, records: Sequence[DeliveryRecord], claim: Claim) -> set[str]:
        """Write that the events are not sent any more; returns those whose dead letters may be published."""
        try:
            return await self._ledger.give_up(records, token=claim.token)
        except StorageUnavailableError as error:
            _log.warning("give_up_failed", events=len(records), error=str(error))
            return set()

    async def settle_dead(self, records: Sequence[DeliveryRecord], claim: Claim) -> set[str]:
        """Settle dead-lettered events as dead; returns those that it wrote. If Spanner was away they are remembered."""
        if not records:
            return set()
        self._remember(records, claim, ForwardState.DEAD)
        written: set[str] = set()

        async def write() -> None:
            written.update(await self._ledger.settle_dead(records, token=claim.token))

        left = claim.ends_at - self._clock.monotonic()
        if left <= 0:
            _log.error("settle_failed", events=len(records), error="the claim has ended")  # another worker may hold it
        elif await self._patiently(write, min(self._patience_seconds, left), len(records)):
            self.forget(record.event_id for record in records)
        self._tally.dead_lettered += len(written)
        return written

    async def give_up_claim(self, event_ids: Iterable[str], claim: Claim) -> None:
        """Release a claim whose answer was lost: if it stands, no worker could send its events until it expires."""
        unsent: list[str] = []
        for event_id in event_ids:
            known = self._known.get(event_id)
            if known is None:
                unsent.append(event_id)
            else:  # resumed later with what is known, under whichever of the claims stands
                self._known[event_id] = replace(known, tokens=known.tokens | {claim.token})
        await self.release(untried(unsent), claim)

    async def note(self, records: Sequence[DeliveryRecord], claim: Claim) -> set[str]:
        """Write the attempts so far and keep the claim; returns the events that may be sent again."""
        try:
            return await self._ledger.note(records, token=claim.token)
        except StorageUnavailableError as error:
            _log.warning("note_failed", events=len(records), error=str(error))
            return set()

    async def release(self, records: Sequence[DeliveryRecord], claim: Claim) -> None:
        """Write the attempts and release the claims, in one short try; what fails is remembered."""
        if not records:
            return
        self._remember(records, claim, ForwardState.PENDING)
        try:
            await self._ledger.release(records, token=claim.token, within_seconds=LAST_TRY_SECONDS)
        except StorageUnavailableError:
            _log.warning("release_failed", events=len(records))
        else:
            self.forget(record.event_id for record in records)

    async def _patiently(self, write: Callable[[], Awaitable[None]], seconds: float, events: int) -> bool:
        try:
            async for attempt in stamina.retry_context(
                on=StorageUnavailableError, attempts=None, timeout=max(0.0, seconds)
            ):
                with attempt:
                    await write()
        except StorageUnavailableError as error:
            _log.error("settle_failed", events=events, error=str(error))
            return False
        return True

    def _remember(self, records: Sequence[DeliveryRecord], claim: Claim, state: ForwardState) -> None:
        self.forget(record.event_id for record in records)
        for record in records:
            # Of a dead event its reason is kept too, with which it is settled later: a rule's was never sent.
            kept = record if record.last_attempt_at or state is ForwardState.DEAD else None
            self._known[record.event_id] = UnwrittenOutcome(claim, kept, state, frozenset({claim.token}))
            self._known_entries += _entries(kept)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Stay within MAX_REMEMBERED. The oldest are the likeliest to have gone to another worker since."""
        forgotten = 0
        while self._known_entries > MAX_REMEMBERED:
            self.forget([next(iter(self._known))])
            forgotten += 1
        if forgotten:
            _log.error("outcomes_forgotten", events=forgotten)


def _entries(record: DeliveryRecord | None) -> int:
    return 1 if record is None else 1 + len(record.history)

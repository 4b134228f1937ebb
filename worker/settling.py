"""Settling: writing what became of events, through a Spanner that may be down just then.

What is known and cannot be written is remembered. When its message comes back to this process a confirmation is only
settled and never sent again, and what was tried otherwise is counted as it was, and not as a possible duplicate.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import stamina

from shared.clock import Clock
from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import DeliveryRecord, ForwardLedger, ForwardState
from shared.process.logs import get_logger, log_each
from worker.accounts import untried
from worker.tally import Tally

PATIENCE_SECONDS: Final = 30.0
"""How long a settlement is tried before its messages go back; leases are extended meanwhile."""

LAST_TRY_SECONDS: Final = 1.0
"""For one release or one last settlement, also at the end of the process. One that fails is remembered; where the
process ends, a release costs the rest of the claim's time and a possible duplicate, which is counted."""

MAX_REMEMBERED: Final = 200_000
"""Accounts held in memory, with the entries of their histories, together some 55 MB: an hour of Spanner's absence at
the rate that an open circuit leaves."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Claim:
    """By what the events of a batch are ours."""

    token: str

    ends_at: float
    """Monotonic; not later than Spanner's."""


@dataclass(frozen=True, slots=True)
class UnwrittenOutcome:
    """What this process knows of an event under a claim and could not write."""

    claim: Claim
    attempt: DeliveryRecord | None
    """None where nothing was sent that is not in the ledger."""

    state: ForwardState
    """DELIVERED: confirmed. DEAD: its dead letter is published. PENDING: neither."""

    tokens: frozenset[str]
    """Of the claims under which it may be ours: a claim whose answer was lost may stand too."""


class Settling:
    """Writes to the ledger; shared by all lanes of a process."""

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
        """What is remembered of these."""
        return {event_id: self._known[event_id] for event_id in event_ids if event_id in self._known}

    def forget(self, event_ids: Iterable[str]) -> None:
        for event_id in event_ids:
            known = self._known.pop(event_id, None)
            if known is not None:
                self._known_entries -= _entries(known.attempt)

    async def settle_delivered(self, attempts: Sequence[DeliveryRecord], claim: Claim) -> bool:
        """Settle as delivered; False where Spanner did not take it in time, and then it is remembered."""
        if not attempts:
            return True
        self._remember(attempts, claim, ForwardState.DELIVERED)

        async def write() -> None:
            left = claim.ends_at - self._clock.monotonic()
            await self._ledger.settle_delivered(attempts, token=claim.token, seconds_left=left)

        if not await self._patiently(write, self._patience_seconds, len(attempts)):
            return False
        self._tally.delivered += len(attempts)
        self.forget(attempt.event_id for attempt in attempts)
        log_each(_log, "event_settled", (attempt.event_id for attempt in attempts))
        return True

    async def settle_at_the_end(self, attempts: Sequence[DeliveryRecord], claim: Claim) -> None:
        """One last, short try for what could not be settled so far."""
        if attempts:
            self._remember(attempts, claim, ForwardState.DELIVERED)
            left = claim.ends_at - self._clock.monotonic()
            try:
                await self._ledger.settle_delivered(
                    attempts, token=claim.token, seconds_left=left, within_seconds=LAST_TRY_SECONDS
                )
            except StorageUnavailableError:
                _log.error("settle_failed", events=len(attempts))
            else:
                self._tally.delivered += len(attempts)
                self.forget(attempt.event_id for attempt in attempts)

    async def settle_remembered(self, event_ids: Collection[str]) -> tuple[set[str], set[str]]:
        """Settle those of the events whose confirmation is remembered; (settled now, not remembered as confirmed)."""
        by_claim: dict[Claim, list[DeliveryRecord]] = {}
        for known in self.known(event_ids).values():
            if known.state is ForwardState.DELIVERED and known.attempt is not None:
                by_claim.setdefault(known.claim, []).append(known.attempt)
        unknown = set(event_ids) - {attempt.event_id for attempts in by_claim.values() for attempt in attempts}
        settled: set[str] = set()
        for claim, attempts in by_claim.items():
            if await self.settle_delivered(attempts, claim):
                settled |= {attempt.event_id for attempt in attempts}
        return settled, unknown

    async def settle_dead(self, attempts: Sequence[DeliveryRecord], claim: Claim) -> set[str]:
        """Settle as dead what is dead-lettered; the events for which it was written. Else it is remembered."""
        if not attempts:
            return set()
        self._remember(attempts, claim, ForwardState.DEAD)
        written: set[str] = set()

        async def write() -> None:
            written.update(await self._ledger.settle_dead(attempts, token=claim.token))

        left = claim.ends_at - self._clock.monotonic()
        if left <= 0:
            _log.error("settle_failed", events=len(attempts), error="the claim has ended")  # and with it our right to
        elif await self._patiently(write, min(self._patience_seconds, left), len(attempts)):
            self.forget(attempt.event_id for attempt in attempts)
        self._tally.dead_lettered += len(written)
        return written

    async def give_up_claim(self, event_ids: Iterable[str], claim: Claim) -> None:
        """After a claim whose answer was lost: it may stand, and would keep everybody waiting until it expires."""
        unsent: list[str] = []
        for event_id in event_ids:
            known = self._known.get(event_id)
            if known is None:
                unsent.append(event_id)
            else:  # to be resumed with what is known, by whichever of the claims stands
                self._known[event_id] = replace(known, tokens=known.tokens | {claim.token})
        await self.release(untried(unsent), claim)

    async def note(self, attempts: Sequence[DeliveryRecord], claim: Claim) -> set[str]:
        """Write down what was sent so far and keep the claim; the events that may be sent again."""
        try:
            return await self._ledger.note(attempts, token=claim.token)
        except StorageUnavailableError as error:
            _log.warning("note_failed", events=len(attempts), error=str(error))
            return set()

    async def release(self, attempts: Sequence[DeliveryRecord], claim: Claim) -> None:
        """Release the claims on what was not settled, if that can be had quickly; else it is remembered."""
        if not attempts:
            return
        self._remember(attempts, claim, ForwardState.PENDING)
        try:
            await self._ledger.release(attempts, token=claim.token, within_seconds=LAST_TRY_SECONDS)
        except StorageUnavailableError:
            _log.warning("release_failed", events=len(attempts))
        else:
            self.forget(attempt.event_id for attempt in attempts)

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

    def _remember(self, attempts: Sequence[DeliveryRecord], claim: Claim, state: ForwardState) -> None:
        self.forget(attempt.event_id for attempt in attempts)
        entries = sum(_entries(attempt) for attempt in attempts)
        if self._known_entries + entries <= MAX_REMEMBERED:
            self._known |= {
                attempt.event_id: UnwrittenOutcome(
                    claim, attempt if attempt.last_attempt_at else None, state, frozenset({claim.token})
                )
                for attempt in attempts
            }
            self._known_entries += entries


def _entries(attempt: DeliveryRecord | None) -> int:
    return 1 if attempt is None else 1 + len(attempt.history)

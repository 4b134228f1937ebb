"""Settling: writing what became of events, through a Spanner that may be down just then.

A confirmation that cannot be written is remembered, so that this process at least never sends the event again: when
its message comes back it is only settled.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import anyio
import stamina

from shared.clock import Clock
from shared.errors import StorageUnavailableError
from shared.forward_ledger import Attempt, ForwardLedger
from shared.logs import get_logger

PATIENCE_SECONDS: Final = 30.0
"""How long a settlement is tried before its messages go back; leases are extended meanwhile."""

LAST_TRY_SECONDS: Final = 1.0
"""For one release or one last settlement, also at the end of the process. A release that fails costs the rest of the
claim's time; a settlement that fails costs a possible duplicate, which is counted."""

MAX_REMEMBERED: Final = 200_000
"""Confirmations held in memory, with the entries of their histories, together some 55 MB: an hour of Spanner's absence
at the rate that an open circuit leaves."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Claim:
    """By what the events of a batch are ours."""

    token: str

    ends_at: float
    """Monotonic; not later than Spanner's."""


class Settling:
    """Writes to the ledger; shared by all lanes of a process."""

    def __init__(self, ledger: ForwardLedger, clock: Clock, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._ledger = ledger
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._remembered: dict[str, tuple[Attempt, Claim]] = {}
        self._remembered_entries = 0

    async def settle_delivered(self, attempts: Sequence[Attempt], claim: Claim) -> bool:
        """Settle as delivered; False where Spanner did not take it in time, and then it is remembered."""
        if not attempts:
            return True
        self._remember(attempts, claim)
        try:
            async for attempt in stamina.retry_context(
                on=StorageUnavailableError, attempts=None, timeout=self._patience_seconds
            ):
                with attempt:
                    await self._write_delivered(attempts, claim)
        except StorageUnavailableError as error:
            _log.error("settle_failed", events=len(attempts), error=str(error))
            return False
        self._forget(attempts)
        for settled in attempts:
            _log.debug("event_settled", event_id=settled.event_id)
        return True

    async def _write_delivered(self, attempts: Sequence[Attempt], claim: Claim) -> None:
        left = claim.ends_at - self._clock.monotonic()
        await self._ledger.settle_delivered(attempts, token=claim.token, seconds_left=left)

    async def settle_at_the_end(self, attempts: Sequence[Attempt], claim: Claim) -> None:
        """One last, short try for what could not be settled so far."""
        if attempts:
            try:
                with anyio.fail_after(LAST_TRY_SECONDS):
                    await self._write_delivered(attempts, claim)
            except (StorageUnavailableError, TimeoutError):
                _log.error("settle_failed", events=len(attempts))
            else:
                self._forget(attempts)

    async def settle_remembered(self, event_ids: Collection[str]) -> tuple[set[str], set[str]]:
        """Settle those of the events whose confirmation is remembered; (settled now, not remembered at all)."""
        unknown = {event_id for event_id in event_ids if event_id not in self._remembered}
        by_claim: dict[Claim, list[Attempt]] = {}
        for event_id in event_ids:
            if event_id in self._remembered:
                attempt, claim = self._remembered[event_id]
                by_claim.setdefault(claim, []).append(attempt)
        settled: set[str] = set()
        for claim, attempts in by_claim.items():
            if await self.settle_delivered(attempts, claim):
                settled |= {attempt.event_id for attempt in attempts}
        return settled, unknown

    async def settle_dead(self, attempts: Sequence[Attempt], *, token: str) -> set[str]:
        """Settle as dead; the events for which it was written: none where Spanner did not take it."""
        try:
            return await self._ledger.settle_dead(attempts, token=token)
        except StorageUnavailableError as error:
            _log.error("settle_failed", events=len(attempts), error=str(error))
            return set()

    async def release(self, attempts: Sequence[Attempt], *, token: str) -> None:
        """Release the claims on what was not settled, if that can be had quickly."""
        if not attempts:
            return
        try:
            with anyio.fail_after(LAST_TRY_SECONDS):
                await self._ledger.release(attempts, token=token)
        except (StorageUnavailableError, TimeoutError):
            _log.warning("release_failed", events=len(attempts))

    def _remember(self, attempts: Sequence[Attempt], claim: Claim) -> None:
        self._forget(attempts)
        if self._remembered_entries + _entries(attempts) <= MAX_REMEMBERED:
            self._remembered |= {attempt.event_id: (attempt, claim) for attempt in attempts}
            self._remembered_entries += _entries(attempts)

    def _forget(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            remembered = self._remembered.pop(attempt.event_id, None)
            if remembered is not None:
                self._remembered_entries -= _entries(remembered[:1])


def _entries(attempts: Sequence[Attempt]) -> int:
    return sum(1 + len(attempt.history) for attempt in attempts)

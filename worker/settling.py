"""Settling: writing what became of events, through a Spanner that may be down just then.

A confirmation that cannot be written is remembered, so that this process at least never sends the event again: when
its message comes back it is only settled.
"""

from collections.abc import Collection, Sequence
from typing import Final

import anyio
import stamina

from shared.errors import StorageUnavailableError
from shared.forward_ledger import Attempt, ForwardLedger
from shared.logs import get_logger

PATIENCE_SECONDS: Final = 30.0
"""How long a settlement is tried before its messages go back; leases are extended meanwhile."""

LAST_TRY_SECONDS: Final = 1.0
"""For one release or one last settlement, also at the end of the process. A release that fails costs the rest of the
claim's time; a settlement that fails costs a possible duplicate, which is counted."""

MAX_REMEMBERED: Final = 100_000
"""Confirmations held in memory, some 55 MB where each took one attempt: an hour of Spanner's absence at the rate that
an open circuit leaves."""

_log = get_logger()


class Settling:
    """Writes to the ledger; shared by all lanes of a process."""

    def __init__(self, ledger: ForwardLedger, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._ledger = ledger
        self._patience_seconds = patience_seconds
        self._remembered: dict[str, Attempt] = {}

    async def settle_delivered(self, attempts: Sequence[Attempt]) -> bool:
        """Settle as delivered; False where Spanner did not take it in time, and then it is remembered."""
        if not attempts:
            return True
        self._remember(attempts)
        try:
            async for attempt in stamina.retry_context(
                on=StorageUnavailableError, attempts=None, timeout=self._patience_seconds
            ):
                with attempt:
                    await self._ledger.settle_delivered(attempts)
        except StorageUnavailableError as error:
            _log.error("settle_failed", events=len(attempts), error=str(error))
            return False
        self._forget(attempts)
        for settled in attempts:
            _log.debug("event_settled", event_id=settled.event_id)
        return True

    async def settle_at_the_end(self, attempts: Sequence[Attempt]) -> None:
        """One last, short try for what could not be settled so far."""
        if attempts:
            try:
                with anyio.fail_after(LAST_TRY_SECONDS):
                    await self._ledger.settle_delivered(attempts)
            except (StorageUnavailableError, TimeoutError):
                _log.error("settle_failed", events=len(attempts))
            else:
                self._forget(attempts)

    async def settle_remembered(self, event_ids: Collection[str]) -> tuple[set[str], set[str]]:
        """Settle those of the events whose confirmation is remembered; (settled now, not remembered at all)."""
        remembered = [self._remembered[event_id] for event_id in event_ids if event_id in self._remembered]
        unknown = {event_id for event_id in event_ids if event_id not in self._remembered}
        settled = await self.settle_delivered(remembered)
        return ({attempt.event_id for attempt in remembered} if settled else set(), unknown)

    async def settle_dead(self, attempts: Sequence[Attempt], *, token: str) -> bool:
        """Settle as dead; False where Spanner did not take it."""
        try:
            await self._ledger.settle_dead(attempts, token=token)
        except StorageUnavailableError as error:
            _log.error("settle_failed", events=len(attempts), error=str(error))
            return False
        return True

    async def release(self, attempts: Sequence[Attempt], *, token: str) -> None:
        """Release the claims on what was not settled, if that can be had quickly."""
        if not attempts:
            return
        try:
            with anyio.fail_after(LAST_TRY_SECONDS):
                await self._ledger.release(attempts, token=token)
        except (StorageUnavailableError, TimeoutError):
            _log.warning("release_failed", events=len(attempts))

    def _remember(self, attempts: Sequence[Attempt]) -> None:
        if len(self._remembered) + len(attempts) <= MAX_REMEMBERED:
            self._remembered |= {attempt.event_id: attempt for attempt in attempts}

    def _forget(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._remembered.pop(attempt.event_id, None)

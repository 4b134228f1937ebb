"""The ledger's transactions: their duration, what claims found, and what was settled."""

from collections import Counter
from collections.abc import Sequence

from shared.event import Event
from shared.forward_ledger import Attempt, Entry, ForwardLedger, ForwardState, Reopened
from shared.telemetry.metrics import CLAIMED, LEDGER_DURATION, SETTLED, counter, histogram, timed
from shared.telemetry.providers import Telemetry


class ObservedForwardLedger:
    """A ForwardLedger that hands on to another."""

    def __init__(self, ledger: ForwardLedger, telemetry: Telemetry) -> None:
        self._ledger = ledger
        self._durations = histogram(telemetry.meter, LEDGER_DURATION)
        self._claimed = counter(telemetry.meter, CLAIMED)
        self._settled = counter(telemetry.meter, SETTLED)

    async def claim(self, event_ids: Sequence[str], *, token: str, seconds: float) -> dict[str, Entry]:
        with timed(self._durations, operation="claim"):
            entries = await self._ledger.claim(event_ids, token=token, seconds=seconds)
        for standing, events in Counter(entry.standing for entry in entries.values()).items():
            self._claimed.add(events, {"standing": standing.value})
        return entries

    async def settle_delivered(
        self, attempts: Sequence[Attempt], *, token: str | None = None, seconds_left: float = 0.0
    ) -> None:
        with timed(self._durations, operation="settle"):
            await self._ledger.settle_delivered(attempts, token=token, seconds_left=seconds_left)
        self._settled.add(len(attempts), {"state": ForwardState.DELIVERED.value})

    async def settle_dead(self, attempts: Sequence[Attempt], *, token: str) -> set[str]:
        with timed(self._durations, operation="settle"):
            written = await self._ledger.settle_dead(attempts, token=token)
        self._settled.add(len(written), {"state": ForwardState.DEAD.value})
        return written

    async def release(self, attempts: Sequence[Attempt], *, token: str) -> None:
        with timed(self._durations, operation="release"):
            await self._ledger.release(attempts, token=token)

    async def pending(self, *, shard: int, older_than_seconds: float, limit: int) -> list[Event]:
        with timed(self._durations, operation="pending"):
            return await self._ledger.pending(shard=shard, older_than_seconds=older_than_seconds, limit=limit)

    async def oldest_pending_seconds(self) -> float | None:
        with timed(self._durations, operation="oldest_pending"):
            return await self._ledger.oldest_pending_seconds()

    async def reopen(self, event_ids: Sequence[str], *, max_replays: int) -> dict[str, Reopened]:
        with timed(self._durations, operation="reopen"):
            return await self._ledger.reopen(event_ids, max_replays=max_replays)

    async def dead(self, *, after: str = "", limit: int) -> list[Event]:
        with timed(self._durations, operation="dead"):
            return await self._ledger.dead(after=after, limit=limit)

    async def note_republished(self, event_ids: Sequence[str]) -> None:
        with timed(self._durations, operation="note_republished"):
            await self._ledger.note_republished(event_ids)

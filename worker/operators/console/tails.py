"""Tails that pages look at, one for each choice of events: what is new since the last look joins what was seen."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import anyio

from shared.errors import StorageUnavailableError
from worker.operators.connections import Connections
from worker.operators.events.tail import Tail
from worker.operators.events.tail_events import TailChoice, TailedEvent
from worker.operators.failure_reasons import explained

KEPT: Final = 200
"""Events of one tail that a page shows. `Tail` finds as many in one round."""

MOST_TAILS: Final = 8
"""Tails at a time. The one that was looked at the longest ago is given up first."""

INTERVAL_SECONDS: Final = 1.5
"""Between two rounds of one tail, however many pages look at it. They ask every two seconds."""


@dataclass(slots=True)
class Seen:
    """What a tail has seen."""

    events: deque[TailedEvent] = field(default_factory=lambda: deque(maxlen=KEPT))
    """The latest first."""

    began: datetime | None = None
    """From when on events are shown. Spanner's time; None before the first answer."""

    until: datetime | None = None
    left_out: int = 0
    """Events that came in larger numbers than one round reads."""

    skipped: timedelta = timedelta(0)
    """The time that was not looked at, because no page asked or Spanner was away."""

    unwatched: int = 0
    """Events whose delivery will not be shown."""

    away: str | None = None
    """Why the last round had no answer; the next one has what it would have found."""


class _Followed:
    def __init__(self, tail: Tail) -> None:
        self.seen = Seen()
        self._tail = tail
        self._lock = anyio.Lock()
        self._due_at = 0.0

    async def look(self, connections: Connections) -> Seen:
        async with self._lock:
            if anyio.current_time() >= self._due_at:
                await self._round(connections)
                self._due_at = anyio.current_time() + INTERVAL_SECONDS
        return self.seen

    async def _round(self, connections: Connections) -> None:
        seen = self.seen
        try:
            batch = await self._tail.next()
        except StorageUnavailableError as error:
            seen.away = explained(error, connections.settings)
            return
        seen.away = None
        seen.began = seen.began or batch.until
        seen.until = batch.until
        seen.left_out += batch.left_out
        seen.skipped += batch.skipped
        seen.unwatched += batch.unwatched
        seen.events.extendleft(batch.events)


class Tails:
    """Nothing runs between two looks."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._followed: dict[TailChoice, _Followed] = {}

    async def look(self, choice: TailChoice) -> Seen:
        """What there is of the choice since it was looked at for the first time. Never raises where Spanner is away."""
        followed = self._followed.pop(choice, None)
        if followed is None:
            shards = self._connections.settings.forward_shards
            followed = _Followed(Tail(self._connections.database, choice, shards=shards))
        self._followed[choice] = followed  # at the end: the order is that of the last look
        for forgotten in list(self._followed)[:-MOST_TAILS]:
            del self._followed[forgotten]
        return await followed.look(self._connections)

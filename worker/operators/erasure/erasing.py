"""Erases an actor's events page by page, then waits for those that a worker has claimed.

Each page is one transaction, so a process that dies anywhere leaves whole pages done, and another run does the rest.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import anyio
import anyio.lowlevel
import stamina

from shared.errors import StorageUnavailableError
from shared.events.erasure import ActorEvent, Cursor, Erasure, EventState, Found
from shared.process.fault_points import fault_point

EVENTS_PER_PAGE: Final = 100
"""Events of one transaction. Ctrl-C waits for one."""

PATIENCE_SECONDS: Final = 20.0
"""How long a call to Spanner is retried before the erasure fails. Less than HELD_ON_SECONDS of the port."""

KEEP_SECONDS: Final = 10.0
"""While the search goes on, claims that were taken over are looked at so often: each look erases or holds on."""

ASK_INTERVAL_SECONDS: Final = 1.0
"""Between two looks at claimed events. Spanner has nothing that could be waited for."""

T = TypeVar("T")


@dataclass(slots=True)
class Counts:
    """Events that were erased, or in a dry run would be."""

    states: Counter[EventState] = field(default_factory=Counter)
    """By what became of them before."""

    already_gone: int = 0
    """Found, and then not there: erased by another run, or by a call whose answer was lost."""

    dead_letters: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    @property
    def events(self) -> int:
        return self.states.total() + self.already_gone

    def add(self, event: ActorEvent, state: EventState | None) -> None:
        if state is None:
            self.already_gone += 1
        else:
            self.states[state] += 1
        self.oldest = min(self.oldest or event.ingested_at, event.ingested_at)
        self.newest = max(self.newest or event.ingested_at, event.ingested_at)


class Erasing:
    """One run. `counts` and `in_flight` say how far it has come, also after a failure."""

    def __init__(self, erasure: Erasure) -> None:
        self._erasure = erasure
        self.counts = Counts()
        self.in_flight: dict[str, ActorEvent] = {}
        """Found and not erased yet, because a worker may be sending them. By event_id."""

    async def erase(self, actor_id: str, *, before: datetime, looked_at: Callable[[int], None]) -> None:
        """Erase everything that no worker has claimed. When it is cancelled it finishes the current page.

        `looked_at` is called with the number of events, of any actor, of each step through the log.

        Raises:
            StorageUnavailableError: Spanner was away for PATIENCE_SECONDS; run it again.
        """
        looked_again_at = anyio.current_time()
        async for events in pages_of(self._erasure, actor_id, before=before, looked_at=looked_at):
            await self._erase(events)
            if self.in_flight and anyio.current_time() - looked_again_at >= KEEP_SECONDS:
                await self._erase(list(self.in_flight.values()))
                looked_again_at = anyio.current_time()

    async def erase_in_flight(self, *, wait_seconds: float) -> None:
        """Erase the rest as claims end. What is left after `wait_seconds` stays in `in_flight`.

        Raises:
            StorageUnavailableError: as above.
        """
        with anyio.move_on_after(wait_seconds):
            while self.in_flight:
                await anyio.sleep(ASK_INTERVAL_SECONDS)
                await self._erase(list(self.in_flight.values()))

    async def _erase(self, events: Sequence[ActorEvent]) -> None:
        for page in in_pages(events):
            with anyio.CancelScope(shield=True):  # bounded: a call has its timeout, and its retries their patience
                found = await patiently(partial(self._erasure.erase, [event.event_id for event in page]))
            self._note(page, found)
            fault_point("erase_after_page")
            await anyio.lowlevel.checkpoint()  # Ctrl-C ends it here

    def _note(self, page: Iterable[ActorEvent], found: Found) -> None:
        self.counts.dead_letters += found.dead_letters
        for event in page:
            state = found.states.get(event.event_id)
            if state is EventState.IN_FLIGHT:
                self.in_flight[event.event_id] = event
                continue
            was_in_flight = self.in_flight.pop(event.event_id, None) is not None
            self.counts.add(event, EventState.IN_FLIGHT if was_in_flight else state)


async def counted(
    erasure: Erasure, actor_id: str, *, before: datetime, looked_at: Callable[[int], None] = lambda _: None
) -> Counts:
    """Count what an erasure would find now.

    Raises:
        StorageUnavailableError: Spanner was away for PATIENCE_SECONDS.
    """
    counts = Counts()
    async for events in pages_of(erasure, actor_id, before=before, looked_at=looked_at):
        for page in in_pages(events):
            found = await patiently(partial(erasure.look, [event.event_id for event in page]))
            counts.dead_letters += found.dead_letters
            for event in page:
                counts.add(event, found.states.get(event.event_id))
    return counts


async def pages_of(
    erasure: Erasure, actor_id: str, *, before: datetime, looked_at: Callable[[int], None]
) -> AsyncIterator[Sequence[ActorEvent]]:
    """The actor's events, as the steps of a search find them."""
    cursor: Cursor | None = None
    while True:
        page = await patiently(partial(erasure.search, actor_id, before=before, cursor=cursor))
        looked_at(page.looked_at)
        yield page.events
        if page.cursor is None:
            return
        cursor = page.cursor


def in_pages(events: Sequence[ActorEvent]) -> Iterator[Sequence[ActorEvent]]:
    for start in range(0, len(events), EVENTS_PER_PAGE):
        yield events[start : start + EVENTS_PER_PAGE]


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    async for attempt in stamina.retry_context(on=StorageUnavailableError, attempts=None, timeout=PATIENCE_SECONDS):
        with attempt:
            return await call()
    raise AssertionError  # not reached: the context raises the last attempt's error

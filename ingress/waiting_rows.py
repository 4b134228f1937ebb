"""Rows on their way to a commit, and the calls that wait for them."""

import asyncio
from collections import deque
from typing import Final

from ingress.admission import row_weight
from shared.errors import EventLoggingError, IdempotencyConflictError, StorageUnavailableError
from shared.event import EventLogRow
from shared.event_log import Written

MAX_GROUP_BYTES: Final = 8 * 1024 * 1024
"""Of the rows' weight in one commit. Spanner takes 100 MB; a group this large already keeps the event loop busy for
some milliseconds while it is encoded."""

Outcome = bool | EventLoggingError
"""Of a row: whether an earlier call had written it, or why it is not written."""


class WaitingCall:
    """One call. It is over when each of its rows has an outcome, when it has waited long enough, or when it is gone.

    A future and a timer, not an event and a cancel scope a row: with those an event of a large call cost 40 µs more.
    """

    def __init__(self) -> None:
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsettled = 0

    @property
    def is_over(self) -> bool:
        return self._over.done()

    def waits_for_one_more(self) -> None:
        self._unsettled += 1

    def one_is_settled(self) -> None:
        self._unsettled -= 1
        if not self._unsettled:
            self._end()

    async def wait(self, seconds: float) -> None:
        """Wait until it is over; `seconds` at the most. A caller that is cancelled is gone."""
        if not self._unsettled:
            return
        timer = asyncio.get_running_loop().call_later(seconds, self._end)
        try:
            await self._over
        finally:
            timer.cancel()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)


class WaitingRow:
    """One row, and what came of it."""

    __slots__ = ("_call", "_outcome", "followers", "row", "weight")

    def __init__(self, row: EventLogRow, call: WaitingCall) -> None:
        self.row = row
        self.weight = row_weight(row.metadata_json)
        self.followers: list[WaitingRow] = []
        """Rows of the same event_id that arrived in the same group."""
        self._call = call
        self._outcome: Outcome | None = None
        call.waits_for_one_more()

    @property
    def is_settled(self) -> bool:
        return self._outcome is not None

    @property
    def is_abandoned(self) -> bool:
        """Nobody waits for it any more. Where no commit has taken it, it is then left out."""
        return self._call.is_over

    @property
    def outcome(self) -> Outcome:
        if self._outcome is None:
            return StorageUnavailableError("the event was not written in time; it may still be")
        return self._outcome

    def fail(self, error: EventLoggingError) -> None:
        self._settle(error)
        for follower in self.followers:
            follower.fail(error)

    def wrote(self) -> None:
        self._settle(False)
        self._resolve_followers(Written(self.row.request_digest, self.row.write_id))

    def exists(self, found: Written) -> bool:
        """The row is there: this call's own write whose answer was lost (True), a retry, or a reuse of its key."""
        if found.write_id == self.row.write_id:
            self.wrote()
            return True
        self._settle(found.request_digest == self.row.request_digest or IdempotencyConflictError())
        self._resolve_followers(found)
        return False

    def _settle(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._call.one_is_settled()

    def _resolve_followers(self, found: Written) -> None:
        if self.followers:
            for follower in self.followers:
                follower.exists(found)


class WaitingRows:
    """The queue: bounded in rows and in the memory that they take."""

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._rows: deque[WaitingRow] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def has_room_for(self, row: EventLogRow) -> bool:
        return len(self._rows) < self._max_rows and self._bytes + row_weight(row.metadata_json) <= self._max_bytes

    def add(self, waiting: WaitingRow) -> None:
        self._rows.append(waiting)
        self._bytes += waiting.weight

    def take_group(self, max_rows: int) -> list[WaitingRow]:
        """The next rows to commit together, each event_id once: others of the same are its followers."""
        group: dict[str, WaitingRow] = {}
        weight = 0
        while self._rows and len(group) < max_rows and weight < MAX_GROUP_BYTES:
            waiting = self._rows.popleft()
            self._bytes -= waiting.weight
            if waiting.is_abandoned:
                continue
            weight += waiting.weight
            leader = group.setdefault(waiting.row.event.event_id, waiting)
            if leader is not waiting:
                leader.followers.append(waiting)
        return list(group.values())

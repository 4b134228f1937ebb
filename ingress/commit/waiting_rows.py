"""Rows on their way to a commit, the calls that wait for them, and their queues.

Each caller has a queue of its own, and queues are served in turn: a caller that sends many rows waits behind its own.
"""

import asyncio
from collections import deque
from typing import Final

from ingress.callers.fair_share import FairShare
from ingress.commit.row_state import RowState
from ingress.decoding.budgets import row_weight
from shared.errors import EventLoggingError, IdempotencyConflictError, OverloadedError
from shared.events.event import EventLogRow
from shared.events.event_log import Written

MAX_GROUP_BYTES: Final = 8 * 1024 * 1024
"""The weight at which no further row joins a commit. Spanner takes 100 MB; encoding a group this large already keeps
the event loop busy for some milliseconds."""

TURN_BYTES: Final = 8 * 1024
"""What a caller may put into a commit per turn (the quantum of the round robin): a few usual rows, so that the smallest
commit has rows of two callers."""

ROW_BYTES: Final = 1024
"""The fixed cost of a row, charged beside its weight: writing an empty one is not free."""

OWN_LOAD: Final = "too many events of this caller are waiting to be written; nothing was written"
WHOLE_LOAD: Final = "too many events are waiting to be written; nothing was written"

Outcome = bool | EventLoggingError
"""A row's outcome: whether an earlier call had written it (a duplicate), or the error that its call answers."""


class WaitingCall:
    """One call. It is over when all of its rows are resolved, when its time is up, or when it is cancelled.

    One future and one timer a call. An event and a cancel scope for each row cost 40 µs more per event of a large call.
    """

    def __init__(self) -> None:
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unresolved = 0

    @property
    def is_over(self) -> bool:
        return self._over.done()

    def add_row(self) -> None:
        self._unresolved += 1

    def resolve_row(self) -> None:
        self._unresolved -= 1
        if not self._unresolved:
            self._end()

    async def wait(self, seconds: float) -> None:
        """Wait until it is over, at most so many seconds. Cancelling this wait ends the call too."""
        if not self._unresolved:
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
    """One row and its state. Each method that changes the state says from which one."""

    __slots__ = ("_call", "_outcome", "_state", "followers", "is_behind_own", "row", "weight")

    def __init__(self, row: EventLogRow, call: WaitingCall) -> None:
        self.row = row
        self.weight = row_weight(row.metadata_json)
        self.followers: list[WaitingRow] = []
        """Rows with the same event_id in the same group. They are not written, and resolved with this one."""
        self.is_behind_own = False
        """Whether other rows of its caller were queued when it was."""
        self._call = call
        self._state = RowState.OFFERED
        self._outcome: Outcome | None = None

    @property
    def state(self) -> RowState:
        return self._state

    @property
    def outcome(self) -> Outcome | None:
        """None until it is RESOLVED."""
        return self._outcome

    @property
    def is_abandoned(self) -> bool:
        """Whether its call is over, so that it is dropped if no commit has taken it."""
        return self._call.is_over

    def admit(self, *, behind_own: bool) -> None:
        """OFFERED to QUEUED. From now on its call waits for it."""
        self._state = RowState.QUEUED
        self.is_behind_own = behind_own
        self._call.add_row()

    def take(self) -> None:
        """QUEUED to IN_COMMIT."""
        self._state = RowState.IN_COMMIT

    def drop(self) -> None:
        """QUEUED to DROPPED."""
        self._state = RowState.DROPPED

    def fail(self, error: EventLoggingError) -> None:
        """IN_COMMIT to RESOLVED: it was not written, or may not have been."""
        self._resolve(error)
        for follower in self.followers:
            follower.fail(error)

    def succeed(self) -> None:
        """IN_COMMIT to RESOLVED: this call wrote it."""
        self._resolve(False)
        self._resolve_followers(Written(self.row.request_digest, self.row.write_id))

    def resolve(self, found: Written) -> bool:
        """IN_COMMIT to RESOLVED: a row of its event_id exists.

        Either this call wrote it and the answer was lost (True), or an earlier call did: with the same content it is a
        duplicate, with other content an idempotency conflict.
        """
        if found.write_id == self.row.write_id:
            self.succeed()
            return True
        is_same = found.request_digest == self.row.request_digest
        self._resolve(True if is_same else IdempotencyConflictError())
        self._resolve_followers(found)
        return False

    def _resolve(self, outcome: Outcome) -> None:
        self._state = RowState.RESOLVED
        self._outcome = outcome
        self._call.resolve_row()

    def _resolve_followers(self, found: Written) -> None:
        if self.followers:
            for follower in self.followers:
                follower.resolve(found)


class _Queue:
    """The rows of one caller, and its credit: the bytes that it may still put into a commit in this turn."""

    __slots__ = ("caller", "credit", "rows")

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.credit = TURN_BYTES
        self.rows: deque[WaitingRow] = deque()


class WaitingRows:
    """The queues, bounded in rows and in bytes of memory, both shared among callers (`FairShare`).

    Served by deficit round robin (Shreedhar and Varghese, 1995), by weight: a caller of large rows sends fewer of them.
    A queue is new from its first row until its first turn is over, as in FQ-CoDel (RFC 8290).
    """

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._rows = FairShare(max_rows)
        self._bytes = FairShare(max_bytes)
        self._queues: dict[str, _Queue] = {}
        self._new: deque[_Queue] = deque()
        self._old: deque[_Queue] = deque()
        """The new queues and the others, in the order of their turns, the current one first. Each has rows."""
        self._was_apart = False
        """Whether the last group was of new queues alone."""

    def __len__(self) -> int:
        return self._rows.taken

    @property
    def callers(self) -> int:
        """How many callers have rows queued."""
        return len(self._queues)

    def count_of(self, caller: str) -> int:
        return self._rows.held_by(caller)

    def offer(self, waiting: WaitingRow, caller: str) -> OverloadedError | None:
        """Queue the row; the error to answer if its caller has no room."""
        error = self._rows.refusal(caller, 1, own=OWN_LOAD, whole=WHOLE_LOAD) or self._bytes.refusal(
            caller, waiting.weight, own=OWN_LOAD, whole=WHOLE_LOAD
        )
        if error is not None:
            return error
        self._rows.take(caller, 1)
        self._bytes.take(caller, waiting.weight)
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = _Queue(caller)
            self._new.append(queue)
        waiting.admit(behind_own=bool(queue.rows))
        queue.rows.append(waiting)
        return None

    def take_group(self, max_rows: int, *, new_apart: bool = False) -> list[WaitingRow]:
        """Take the next rows to commit together; empty if none waits.

        Each event_id is there once: further rows of it become followers of the first, and do not count for `max_rows`.
        Rows whose call is over are dropped.

        With `new_apart` new queues have their first turns in a group without the others. Of two groups that follow each
        other at most one is so: ever more new queues do not keep the others waiting.
        """
        if new_apart and self._new and self.callers > 1 and not self._was_apart:
            self._was_apart = True
            if group := self._take_from(self._new, max_rows):
                return group
        self._was_apart = False
        self._old.extend(self._new)
        self._new.clear()
        return self._take_from(self._old, max_rows)

    def _take_from(self, turns: deque[_Queue], max_rows: int) -> list[WaitingRow]:
        group: dict[str, WaitingRow] = {}
        weight = 0
        while len(group) < max_rows and weight < MAX_GROUP_BYTES and (queue := self._whose_turn(turns)):
            waiting = self._take_next(queue, turns)
            if waiting.is_abandoned:
                waiting.drop()
                continue
            waiting.take()
            weight += waiting.weight
            leader = group.setdefault(waiting.row.event.event_id, waiting)
            if leader is not waiting:
                leader.followers.append(waiting)
        return list(group.values())

    def _take_next(self, queue: _Queue, turns: deque[_Queue]) -> WaitingRow:
        waiting = queue.rows.popleft()
        if self.callers > 1 and not waiting.is_abandoned:
            # May go below 0: a row heavier than the credit is paid for by the queue's next turns. A queue that is
            # empty begins anew, as in deficit round robin.
            queue.credit -= ROW_BYTES + waiting.weight
        if not queue.rows:
            turns.popleft()
            del self._queues[queue.caller]
        self._rows.release(queue.caller, 1)
        self._bytes.release(queue.caller, waiting.weight)
        return waiting

    def _whose_turn(self, turns: deque[_Queue]) -> _Queue | None:
        """The first queue that has credit. Those before it are made old ones, and await their next turns."""
        while turns and turns[0].credit <= 0 and self.callers > 1:
            turns[0].credit += TURN_BYTES
            self._old.append(turns.popleft())
        return turns[0] if turns else None

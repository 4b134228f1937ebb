"""Rows on their way to a commit, and the calls that wait for them.

Each caller has a queue of its own, and queues are served in turn: who sends many waits behind its own.
"""

import asyncio
from collections import deque
from typing import Final

from ingress.callers.fair_share import FairShare
from ingress.decoding.budgets import row_weight
from shared.errors import EventLoggingError, IdempotencyConflictError, OverloadedError
from shared.events.event import EventLogRow
from shared.spanner.event_log import Written

MAX_GROUP_BYTES: Final = 8 * 1024 * 1024
"""Of the rows' weight in one commit. Spanner takes 100 MB; a group this large already keeps the event loop busy for
some milliseconds while it is encoded."""

TURN_BYTES: Final = 8 * 1024
"""What a caller may send into a commit before it is the next one's turn: a few usual rows, so that the smallest commit
has some of two callers."""

ROW_BYTES: Final = 1024
"""What a row counts for beside its weight: as much as it costs to write one of which nothing has to be said."""

OWN_LOAD: Final = "too many events of this caller are waiting to be written; nothing was written"
WHOLE_LOAD: Final = "too many events are waiting to be written; nothing was written"

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

    __slots__ = ("_call", "_outcome", "followers", "is_behind_own", "is_taken", "row", "weight")

    def __init__(self, row: EventLogRow, call: WaitingCall) -> None:
        self.row = row
        self.weight = row_weight(row.metadata_json)
        self.followers: list[WaitingRow] = []
        """Rows of the same event_id that arrived in the same group."""
        self.is_behind_own = False
        """Whether others of the same caller waited already when it came."""
        self.is_taken = False
        """Whether a commit has it. Until then it is surely not written."""
        self._call = call
        self._outcome: Outcome | None = None

    @property
    def outcome(self) -> Outcome | None:
        """None while it has none."""
        return self._outcome

    @property
    def is_abandoned(self) -> bool:
        """Nobody waits for it any more. Where no commit has taken it, it is then left out."""
        return self._call.is_over

    def waits(self, *, behind_own: bool) -> None:
        """It is let in. From now on its call waits for it too."""
        self.is_behind_own = behind_own
        self._call.waits_for_one_more()

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


class _Queue:
    """The rows of one caller, and what it may still send in this turn."""

    __slots__ = ("caller", "credit", "rows")

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.credit = TURN_BYTES
        self.rows: deque[WaitingRow] = deque()


class WaitingRows:
    """The queues: bounded in rows and in the memory that they take, shared among callers (`FairShare`).

    Served by deficit round robin (Shreedhar and Varghese, 1995), by weight: what is large has its turn less often.
    """

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._rows = FairShare(max_rows)
        self._bytes = FairShare(max_bytes)
        self._queues: dict[str, _Queue] = {}
        self._turns: deque[_Queue] = deque()
        """Those of `_queues`, all with rows; the first one's turn it is."""

    def __len__(self) -> int:
        return self._rows.taken

    @property
    def callers(self) -> int:
        """How many have rows here."""
        return len(self._queues)

    def count_of(self, caller: str) -> int:
        return self._rows.held_by(caller)

    def offer(self, waiting: WaitingRow, caller: str) -> OverloadedError | None:
        """Let the row wait, or say why it may not."""
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
            self._turns.append(queue)
        waiting.waits(behind_own=bool(queue.rows))
        queue.rows.append(waiting)
        return None

    def take_group(self, max_rows: int) -> list[WaitingRow]:
        """The next rows to commit together, each event_id once: others of the same are its followers."""
        group: dict[str, WaitingRow] = {}
        weight = 0
        while self._turns and len(group) < max_rows and weight < MAX_GROUP_BYTES:
            waiting = self._take_next()
            if waiting.is_abandoned:
                continue
            waiting.is_taken = True
            weight += waiting.weight
            leader = group.setdefault(waiting.row.event.event_id, waiting)
            if leader is not waiting:
                leader.followers.append(waiting)
        return list(group.values())

    def _take_next(self) -> WaitingRow:
        queue = self._whose_turn()
        waiting = queue.rows.popleft()
        if len(self._turns) > 1 and not waiting.is_abandoned:
            # Below 0 it goes by what the row weighs too much: turns to come make up for it.
            queue.credit -= ROW_BYTES + waiting.weight
        if not queue.rows:
            self._turns.popleft()
            del self._queues[queue.caller]
        self._rows.release(queue.caller, 1)
        self._bytes.release(queue.caller, waiting.weight)
        return waiting

    def _whose_turn(self) -> _Queue:
        while (queue := self._turns[0]).credit <= 0 and len(self._turns) > 1:
            queue.credit += TURN_BYTES
            self._turns.rotate(-1)
        return queue

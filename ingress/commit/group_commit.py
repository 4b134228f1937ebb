"""Group commit: concurrent calls share commits, and are answered when theirs is done.

While all commits are in flight, arriving rows wait; the next commit takes all that wait, of all callers in turn. There
is no timer: a lone row is committed at once. A row is worked on by the process's task group, not by the call that
brought it, so a caller that hangs up or whose deadline passes loses nothing. What is committed is handed over to be
published; no call waits for it.
"""

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import anyio
from anyio.abc import TaskGroup

from ingress.callers.backpressure import Backpressure, Gate, OpenGate
from ingress.callers.recent import RecentCallers
from ingress.commit.forward_publisher import ForwardPublisher
from ingress.commit.group_size import GroupSize
from ingress.commit.search import Tried, search
from ingress.commit.waiting_rows import OWN_LOAD, WHOLE_LOAD, Outcome, WaitingCall, WaitingRow, WaitingRows
from shared.errors import (
    CallerOverloadedError,
    DrainingError,
    EventLoggingError,
    OverloadedError,
    RowExistsError,
    StoragePreconditionError,
    StorageRejectedError,
    StorageUnavailableError,
)
from shared.events.event import EventLogRow
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger, log_each
from shared.spanner.event_log import EventLogRepository

_log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """See IngressSettings for the meaning and the reason of each."""

    concurrency: int
    rows: int
    queue_rows: int
    queue_bytes: int

    patience_seconds: float
    """How long a call waits for its row: somewhat longer than a commit may take. A row that queued behind a slow commit
    would otherwise wait for two."""


class GroupCommitter:
    """Commits rows in groups and has what they hold published."""

    def __init__(
        self,
        *,
        repository: EventLogRepository,
        publisher: ForwardPublisher,
        limits: Limits,
        task_group: TaskGroup,
        gate: Gate | None = None,
    ) -> None:
        self._repository = repository
        self._publisher = publisher
        self._limits = limits
        self._task_group = task_group
        self._waiting = WaitingRows(max_rows=limits.queue_rows, max_bytes=limits.queue_bytes)
        self._backlog = Backpressure(self._waiting, gate or OpenGate(), rows_in_flight=limits.concurrency * limits.rows)
        self._callers = RecentCallers()
        self._size = GroupSize(limits.rows)
        self._company = asyncio.Event()
        """Set when rows of more than one caller wait."""
        self._commits = 0
        self._successes = 0
        """Commits that wrote something."""
        self._draining = False

    @property
    def waiting_rows(self) -> int:
        """Rows that no commit has taken yet."""
        return len(self._waiting)

    def drain(self) -> None:
        """Refuse new rows from now on. Those that wait are still committed."""
        self._draining = True

    async def commit(self, row: EventLogRow, caller: str = "") -> bool:
        """Have the row of this caller committed; True where an earlier call wrote it, by the same key and content.

        Waits for the commit. What then becomes of the publish is not this call's.

        Raises:
            IdempotencyConflictError: the key was used for other content.
            CallerOverloadedError, OverloadedError: too much waits, of this caller or in all; the row was not written.
            DrainingError: refused before anything was written.
            StorageUnavailableError: not known whether the row is written.
            StorageRejectedError: the row is at fault; it was not written.
        """
        (outcome,) = await self.commit_all([row], caller)
        if isinstance(outcome, EventLoggingError):
            raise outcome
        return outcome

    async def commit_all(self, rows: Sequence[EventLogRow], caller: str = "") -> list[Outcome]:
        """Have the rows of one call committed, each for itself; what `commit` would return or raise, in their order."""
        if self._draining:
            return [DrainingError() for _ in rows]
        self._callers.came(caller, perf_counter())
        call = WaitingCall()
        outcomes = [self._enqueue(row, call, caller) for row in rows]
        self._backlog.grew(caller)
        if self._waiting.callers > 1:
            self._company.set()
            self._company = asyncio.Event()
        for _ in range(math.ceil(len(rows) / self._limits.rows)):
            if self._commits < self._limits.concurrency:
                self._commits += 1
                self._task_group.start_soon(self._commit_while_any_wait)
        successes = self._successes
        await call.wait(self._limits.patience_seconds)
        is_served = self._successes != successes
        return [_outcome(each, is_served=is_served) if isinstance(each, WaitingRow) else each for each in outcomes]

    def _enqueue(self, row: EventLogRow, call: WaitingCall, caller: str) -> WaitingRow | EventLoggingError:
        waiting = WaitingRow(row, call)
        return self._waiting.offer(waiting, caller) or waiting

    async def _commit_while_any_wait(self) -> None:
        try:
            while group := self._waiting.take_group(self._rows_of_a_group()):
                self._backlog.shrank()
                began = perf_counter()
                await self._commit_group(group)
                if self._is_one_flooding and self._size.is_reduced and not self._draining:
                    await self._leave_a_moment(perf_counter() - began)
        finally:
            self._commits -= 1
            self._backlog.shrank()

    @property
    def _is_one_flooding(self) -> bool:
        """Whether one of several callers has more rows waiting than a commit takes, and the others have none."""
        return self._waiting.callers == 1 and len(self._waiting) > self._limits.rows and self._are_several

    async def _leave_a_moment(self, seconds: float) -> None:
        """As long as the last commit took, or until another caller has a row: that would else always find one there."""
        company = self._company
        with anyio.move_on_after(seconds):
            await company.wait()

    def _rows_of_a_group(self) -> int:
        return self._size.rows if self._are_several else self._limits.rows

    @property
    def _are_several(self) -> bool:
        return self._callers.are_several(perf_counter())

    async def _commit_group(self, group: Sequence[WaitingRow]) -> None:
        """Settle every row of the group: this never raises, since nobody is there to catch it."""
        try:
            await self._commit(group)
        except EventLoggingError as error:
            _fail(group, error)
        except Exception:  # noqa: BLE001 - the next line says why
            # A bug of ours: it fails these calls, not the process and everybody else's.
            _log.exception("commit_crashed", events=len(group))
            _fail(group, EventLoggingError("the commit crashed"))
        except BaseException:
            # The task group is going down: the calls must not wait for ever.
            _fail(group, StorageUnavailableError("the commit was interrupted"))
            raise

    async def _commit(self, group: Sequence[WaitingRow]) -> None:
        first = await self._try(group)
        if len(first.refused) == 1:
            _refuse(first.refused, guilty=first.by_content)  # there is nothing to compare it with
        elif first.refused:
            verdict = await search(first.refused, self._try)
            _refuse(verdict.guilty, guilty=True)
            _refuse(verdict.undecided, guilty=False)
            _log.warning(
                "group_refused",
                events=len(first.refused),
                commits=verdict.commits,
                guilty=len(verdict.guilty),
                undecided=len(verdict.undecided),
            )

    async def _try(self, group: Sequence[WaitingRow]) -> Tried[WaitingRow]:
        """One commit, and another one of the rest where some of the rows exist already."""
        began = perf_counter()
        try:
            await self._repository.append([waiting.row for waiting in group])
        except RowExistsError:
            return await self._resolve_existing(group)
        except (StorageRejectedError, StoragePreconditionError) as error:
            return Tried(refused=group, by_content=isinstance(error, StorageRejectedError))
        fault_point("after_commit")
        self._successes += 1
        self._size.committed(len(group), perf_counter() - began)
        for waiting in group:
            waiting.wrote()
        log_each(_log, "event_committed", (waiting.row.event.event_id for waiting in group))
        self._hand_over(group)
        return Tried(written=True)

    async def _resolve_existing(self, group: Sequence[WaitingRow]) -> Tried[WaitingRow]:
        """Answer those that exist by who wrote them, and commit the others."""
        found = await self._repository.written([waiting.row.event.event_id for waiting in group])
        rest: list[WaitingRow] = []
        own: list[WaitingRow] = []
        for waiting in group:
            written = found.get(waiting.row.event.event_id)
            if written is None:
                rest.append(waiting)
            elif waiting.exists(written):
                own.append(waiting)
        if own:
            _log.info("commit_answer_was_lost", events=len(own))
            self._hand_over(own)
        if len(rest) == len(group):
            _fail(rest, StorageUnavailableError("a row both exists and cannot be read"))
            return Tried()
        tried: Tried[WaitingRow] = await self._try(rest) if rest else Tried()
        return replace(tried, written=tried.written or bool(own))

    def _hand_over(self, group: Iterable[WaitingRow]) -> None:
        self._publisher.hand_over([waiting.row for waiting in group if waiting.row.forward_to_statsig])


def _outcome(waiting: WaitingRow, *, is_served: bool) -> Outcome:
    """What the row came to when its call is over; `is_served` where Spanner wrote something meanwhile."""
    if waiting.outcome is not None:
        return waiting.outcome
    if waiting.is_taken:
        return StorageUnavailableError("the event was not written in time; it may still be")
    if not is_served:
        return StorageUnavailableError("Spanner did not answer in time; the event was not written")
    # It is its load that kept it waiting. The next group leaves it out, since nobody waits for it any more.
    return CallerOverloadedError(OWN_LOAD) if waiting.is_behind_own else OverloadedError(WHOLE_LOAD)


def _fail(group: Iterable[WaitingRow], error: EventLoggingError) -> None:
    """Those that are not answered yet."""
    for waiting in group:
        if waiting.outcome is None:
            waiting.fail(error)


def _refuse(group: Iterable[WaitingRow], *, guilty: bool) -> None:
    """Those whom Spanner refused: nothing of them is written."""
    for waiting in group:
        if guilty:
            waiting.fail(StorageRejectedError("Spanner refused the event's row"))
        else:
            waiting.fail(StorageUnavailableError("Spanner refused the commit; the event was not written"))

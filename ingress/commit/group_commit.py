"""Group commit: concurrent calls share commits, and each is answered when its rows are committed.

While the allowed number of commits is in flight, rows queue, and the next commit takes as many as it may have, of all
callers in turn. No timer delays a lone row: it is committed at once. Commits run in the process's task group, not in
the calls, so a caller that hangs up does not cancel the commit of its rows; rows that no commit has taken by then are
dropped. Committed rows are handed over to be published, which no call waits for.
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
from ingress.commit.outcomes import fail_unresolved, final_outcome, refuse
from ingress.commit.search import Tried, search
from ingress.commit.waiting_rows import Outcome, WaitingCall, WaitingRow, WaitingRows
from shared.errors import (
    DrainingError,
    EventLoggingError,
    RowExistsError,
    StoragePreconditionError,
    StorageRejectedError,
    StorageUnavailableError,
)
from shared.events.event import EventLogRow
from shared.events.event_log import EventLogRepository
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger, log_each

_log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The COMMIT_* settings of IngressSettings, which gives their reasons, and how long a call waits."""

    concurrency: int
    rows: int
    queue_rows: int
    queue_bytes: int

    patience_seconds: float
    """How long a call waits for its rows: somewhat longer than a commit may take. Without this bound a row that queued
    behind a slow commit would wait for two."""


class GroupCommitter:
    """Commits rows in groups and hands them over to be published. Not thread-safe: for the event loop's thread."""

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
        self._backpressure = Backpressure(
            self._waiting, gate or OpenGate(), rows_in_flight=limits.concurrency * limits.rows
        )
        self._callers = RecentCallers()
        self._size = GroupSize(limits.rows)
        self._second_caller = asyncio.Event()
        """Set, and replaced, when a call leaves rows of more than one caller queued."""
        self._committers = 0
        """Tasks that commit, each one commit at a time."""
        self._successes = 0
        """Commits that wrote their rows."""
        self._draining = False

    @property
    def waiting_rows(self) -> int:
        """Rows that are queued: no commit has taken them yet."""
        return len(self._waiting)

    def drain(self) -> None:
        """Refuse new rows from now on. Rows already queued are still committed."""
        self._draining = True

    async def commit(self, row: EventLogRow, caller: str = "") -> bool:
        """Commit one row; True if an earlier call wrote it, with the same key and content.

        Waits for the commit, at most `Limits.patience_seconds`, and not for the publish.

        Raises:
            IdempotencyConflictError: the key was used for other content.
            CallerOverloadedError, OverloadedError: too many rows wait, of this caller or in all; it was not written.
            DrainingError: the process is stopping; it was not written.
            StorageUnavailableError: it may have been written, unless the message says that it was not.
            StorageRejectedError: the row is at fault; it was not written.
            EventLoggingError: a bug of ours; it may have been written.
        """
        (outcome,) = await self.commit_all([row], caller)
        if isinstance(outcome, EventLoggingError):
            raise outcome
        return outcome

    async def commit_all(self, rows: Sequence[EventLogRow], caller: str = "") -> list[Outcome]:
        """Commit the rows of one call; for each, in their order, what `commit` would return or raise."""
        if self._draining:
            return [DrainingError() for _ in rows]
        self._callers.came(caller, perf_counter())
        call = WaitingCall()
        offered = [self._enqueue(row, call, caller) for row in rows]
        self._backpressure.grew(caller)
        if self._waiting.callers > 1:
            self._second_caller.set()
            self._second_caller = asyncio.Event()
        for _ in range(math.ceil(len(rows) / self._limits.rows)):
            if self._committers < self._limits.concurrency:
                self._committers += 1
                self._task_group.start_soon(self._commit_while_any_wait)
        successes = self._successes
        await call.wait(self._limits.patience_seconds)
        is_served = self._successes != successes
        return [final_outcome(each, is_served=is_served) if isinstance(each, WaitingRow) else each for each in offered]

    def _enqueue(self, row: EventLogRow, call: WaitingCall, caller: str) -> WaitingRow | EventLoggingError:
        waiting = WaitingRow(row, call)
        return self._waiting.offer(waiting, caller) or waiting

    async def _commit_while_any_wait(self) -> None:
        try:
            while group := self._waiting.take_group(self._rows_of_a_group(), new_apart=self._size.is_reduced):
                self._backpressure.shrank()
                began = perf_counter()
                await self._commit_group(group)
                if self._is_flooded_by_one and self._size.is_reduced and not self._draining:
                    await self._pause_for_others(perf_counter() - began)
        finally:
            self._committers -= 1
            self._backpressure.shrank()

    @property
    def _is_flooded_by_one(self) -> bool:
        """Whether one of several recent callers has more rows queued than a commit takes, and the others have none."""
        return self._waiting.callers == 1 and len(self._waiting) > self._limits.rows and self._are_several

    async def _pause_for_others(self, seconds: float) -> None:
        """Pause between the commits of a flood, until another caller has a row or for so many seconds.

        Otherwise the row of another caller would always find a commit in flight, and wait for it first.
        """
        second_caller = self._second_caller
        with anyio.move_on_after(seconds):
            await second_caller.wait()

    def _rows_of_a_group(self) -> int:
        return self._size.rows if self._are_several else self._limits.rows

    @property
    def _are_several(self) -> bool:
        return self._callers.are_several(perf_counter())

    async def _commit_group(self, group: Sequence[WaitingRow]) -> None:
        """Commit the group and resolve every row of it. Raises on cancellation only, after resolving the rows.

        Any other exception would end the process's task group.
        """
        try:
            await self._commit(group)
        except EventLoggingError as error:
            fail_unresolved(group, error)
        except Exception:  # noqa: BLE001 - a bug of ours fails these calls, not the process with all others
            _log.exception("commit_crashed", events=len(group))
            fail_unresolved(group, EventLoggingError("the commit crashed"))
        except BaseException:
            # The task group is being cancelled: the calls must not wait until their time is up.
            fail_unresolved(group, StorageUnavailableError("the commit was interrupted"))
            raise

    async def _commit(self, group: Sequence[WaitingRow]) -> None:
        first = await self._try(group)
        if len(first.refused) == 1:
            refuse(first.refused, guilty=first.by_content)  # a search has no other row to compare it with
        elif first.refused:
            result = await search(first.refused, self._try)
            refuse(result.guilty, guilty=True)
            refuse(result.undecided, guilty=False)
            _log.warning(
                "group_refused",
                events=len(first.refused),
                commits=result.commits,
                guilty=len(result.guilty),
                undecided=len(result.undecided),
            )

    async def _try(self, group: Sequence[WaitingRow]) -> Tried[WaitingRow]:
        """Try one commit. If some of the rows exist already, resolve those and try the rest."""
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
            waiting.succeed()
        log_each(_log, "event_committed", (waiting.row.event.event_id for waiting in group))
        self._hand_over(group)
        return Tried(written=True)

    async def _resolve_existing(self, group: Sequence[WaitingRow]) -> Tried[WaitingRow]:
        """Resolve the rows that exist, by which call wrote them, and commit the others."""
        found = await self._repository.written([waiting.row.event.event_id for waiting in group])
        rest: list[WaitingRow] = []
        own: list[WaitingRow] = []
        for waiting in group:
            written = found.get(waiting.row.event.event_id)
            if written is None:
                rest.append(waiting)
            elif waiting.resolve(written):
                own.append(waiting)
        if own:
            _log.info("commit_answer_was_lost", events=len(own))
            self._hand_over(own)
        if len(rest) == len(group):
            fail_unresolved(rest, StorageUnavailableError("a row both exists and cannot be read"))
            return Tried()
        tried: Tried[WaitingRow] = await self._try(rest) if rest else Tried()
        return replace(tried, written=tried.written or bool(own))

    def _hand_over(self, group: Iterable[WaitingRow]) -> None:
        self._publisher.hand_over([waiting.row for waiting in group if waiting.row.forward_to_statsig])

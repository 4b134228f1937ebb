"""Group commit: concurrent calls share commits, and are answered when theirs is done.

While all commits are in flight, arriving rows wait; the next commit takes all that wait. There is no timer: a lone row
is committed at once. A row is worked on by the process's task group, not by the call that brought it, so a caller that
hangs up or whose deadline passes loses nothing. What is committed is handed over to be published; no call waits for it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from anyio.abc import TaskGroup

from ingress.commit_search import Tried, search
from ingress.forward_publisher import ForwardPublisher
from ingress.waiting_rows import Outcome, WaitingCall, WaitingRow, WaitingRows
from shared.errors import (
    DrainingError,
    EventLoggingError,
    OverloadedError,
    RowExistsError,
    StoragePreconditionError,
    StorageRejectedError,
    StorageUnavailableError,
)
from shared.event import EventLogRow
from shared.event_log import EventLogRepository
from shared.fault_points import fault_point
from shared.logs import get_logger, log_each

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
        self, *, repository: EventLogRepository, publisher: ForwardPublisher, limits: Limits, task_group: TaskGroup
    ) -> None:
        self._repository = repository
        self._publisher = publisher
        self._limits = limits
        self._task_group = task_group
        self._waiting = WaitingRows(max_rows=limits.queue_rows, max_bytes=limits.queue_bytes)
        self._commits = 0
        self._draining = False

    @property
    def waiting_rows(self) -> int:
        """Rows that no commit has taken yet."""
        return len(self._waiting)

    def drain(self) -> None:
        """Refuse new rows from now on. Those that wait are still committed."""
        self._draining = True

    async def commit(self, row: EventLogRow) -> bool:
        """Have the row committed; True where an earlier call wrote it, by the same key and content.

        Waits for the commit. What then becomes of the publish is not this call's.

        Raises:
            IdempotencyConflictError: the key was used for other content.
            OverloadedError, DrainingError: refused before anything was written.
            StorageUnavailableError: not known whether the row is written.
            StorageRejectedError: the row is at fault; it was not written.
        """
        (outcome,) = await self.commit_all([row])
        if isinstance(outcome, EventLoggingError):
            raise outcome
        return outcome

    async def commit_all(self, rows: Sequence[EventLogRow]) -> list[Outcome]:
        """Have the rows of one call committed, each for itself; what `commit` would return or raise, in their order."""
        call = WaitingCall()
        outcomes = [self._refusal_of(row) or self._enqueue(row, call) for row in rows]
        for _ in range(math.ceil(len(rows) / self._limits.rows)):
            if self._commits < self._limits.concurrency:
                self._commits += 1
                self._task_group.start_soon(self._commit_while_any_wait)
        await call.wait(self._limits.patience_seconds)
        return [each.outcome if isinstance(each, WaitingRow) else each for each in outcomes]

    def _refusal_of(self, row: EventLogRow) -> EventLoggingError | None:
        if self._draining:
            return DrainingError()
        return None if self._waiting.has_room_for(row) else OverloadedError()

    def _enqueue(self, row: EventLogRow, call: WaitingCall) -> WaitingRow:
        waiting = WaitingRow(row, call)
        self._waiting.add(waiting)
        return waiting

    async def _commit_while_any_wait(self) -> None:
        try:
            while group := self._waiting.take_group(self._limits.rows):
                await self._commit_group(group)
        finally:
            self._commits -= 1

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
        try:
            await self._repository.append([waiting.row for waiting in group])
        except RowExistsError:
            return await self._resolve_existing(group)
        except (StorageRejectedError, StoragePreconditionError) as error:
            return Tried(refused=group, by_content=isinstance(error, StorageRejectedError))
        fault_point("after_commit")
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


def _fail(group: Iterable[WaitingRow], error: EventLoggingError) -> None:
    """Those that are not answered yet."""
    for waiting in group:
        if not waiting.is_settled:
            waiting.fail(error)


def _refuse(group: Iterable[WaitingRow], *, guilty: bool) -> None:
    """Those whom Spanner refused: nothing of them is written."""
    for waiting in group:
        if guilty:
            waiting.fail(StorageRejectedError("Spanner refused the event's row"))
        else:
            waiting.fail(StorageUnavailableError("Spanner refused the commit; the event was not written"))

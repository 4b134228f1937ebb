"""Group commit: concurrent calls share commits, and are answered when theirs is done.

While all commits are in flight, arriving rows wait; the next commit takes all that wait. There is no timer: a lone row
is committed at once. A row is worked on by the process's task group, not by the call that brought it, so a caller that
hangs up or whose deadline passes loses nothing. What is committed is handed over to be published; no call waits for it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import anyio
from anyio.abc import TaskGroup

from ingress.admission import row_weight
from ingress.commit_search import Tried, search
from ingress.forward_publisher import ForwardPublisher
from shared.errors import (
    DrainingError,
    EventLoggingError,
    IdempotencyConflictError,
    OverloadedError,
    RowExistsError,
    StoragePreconditionError,
    StorageRejectedError,
    StorageUnavailableError,
)
from shared.event import EventLogRow
from shared.event_log import EventLogRepository, Written
from shared.fault_points import fault_point
from shared.logs import get_logger

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


@dataclass(slots=True, eq=False)
class _Waiting:
    """One call's row on its way."""

    row: EventLogRow
    settled: anyio.Event = field(default_factory=anyio.Event)
    """Set when the call may be answered: refused, or committed."""

    error: EventLoggingError | None = None
    committed: bool = False
    duplicate: bool = False
    abandoned: bool = False
    """The caller is gone. A row that is not yet in a commit is then left out."""

    followers: list["_Waiting"] = field(default_factory=list)
    """Rows of the same event_id that arrived in the same group."""

    @property
    def size(self) -> int:
        return row_weight(self.row.metadata_json)

    def fail(self, error: EventLoggingError) -> None:
        self.error = error
        self.settled.set()
        for follower in self.followers:
            follower.fail(error)

    def exists(self, found: Written) -> bool:
        """The row is there: this call's own write whose answer was lost (True), a retry, or a reuse of its key."""
        if found.write_id == self.row.write_id:
            self.wrote()
            return True
        if found.request_digest == self.row.request_digest:
            self.committed = self.duplicate = True
        else:
            self.error = IdempotencyConflictError()
        self.settled.set()
        self._resolve_followers(found)
        return False

    def wrote(self) -> None:
        self.committed = True
        self.settled.set()
        self._resolve_followers(Written(self.row.request_digest, self.row.write_id))

    def _resolve_followers(self, found: Written) -> None:
        for follower in self.followers:
            follower.exists(found)


class GroupCommitter:
    """Commits rows in groups and has what they hold published."""

    def __init__(
        self, *, repository: EventLogRepository, publisher: ForwardPublisher, limits: Limits, task_group: TaskGroup
    ) -> None:
        self._repository = repository
        self._publisher = publisher
        self._limits = limits
        self._task_group = task_group
        self._queue: deque[_Waiting] = deque()
        self._queue_bytes = 0
        self._commits = 0
        self._draining = False

    @property
    def waiting_rows(self) -> int:
        """Rows that no commit has taken yet."""
        return len(self._queue)

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
        if self._draining:
            raise DrainingError
        waiting = _Waiting(row)
        if len(self._queue) >= self._limits.queue_rows or self._queue_bytes + waiting.size > self._limits.queue_bytes:
            raise OverloadedError
        self._queue.append(waiting)
        self._queue_bytes += waiting.size
        if self._commits < self._limits.concurrency:
            self._commits += 1
            self._task_group.start_soon(self._commit_while_any_wait)
        try:
            with anyio.move_on_after(self._limits.patience_seconds):
                await waiting.settled.wait()
        finally:
            waiting.abandoned = not waiting.settled.is_set()
        if waiting.error:
            raise waiting.error
        if not waiting.committed:
            raise StorageUnavailableError("the event was not written in time; it may still be")
        return waiting.duplicate

    async def _commit_while_any_wait(self) -> None:
        try:
            while group := self._take_group():
                await self._commit_group(group)
        finally:
            self._commits -= 1

    def _take_group(self) -> list[_Waiting]:
        group: dict[str, _Waiting] = {}
        while self._queue and len(group) < self._limits.rows:
            waiting = self._queue.popleft()
            self._queue_bytes -= waiting.size
            if waiting.abandoned:
                continue
            leader = group.setdefault(waiting.row.event.event_id, waiting)
            if leader is not waiting:
                leader.followers.append(waiting)
        return list(group.values())

    async def _commit_group(self, group: Sequence[_Waiting]) -> None:
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

    async def _commit(self, group: Sequence[_Waiting]) -> None:
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

    async def _try(self, group: Sequence[_Waiting]) -> Tried[_Waiting]:
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
            _log.debug("event_committed", event_id=waiting.row.event.event_id)
        self._hand_over(group)
        return Tried(written=True)

    async def _resolve_existing(self, group: Sequence[_Waiting]) -> Tried[_Waiting]:
        """Answer those that exist by who wrote them, and commit the others."""
        found = await self._repository.written([waiting.row.event.event_id for waiting in group])
        rest: list[_Waiting] = []
        own: list[_Waiting] = []
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
        tried: Tried[_Waiting] = await self._try(rest) if rest else Tried()
        return replace(tried, written=tried.written or bool(own))

    def _hand_over(self, group: Iterable[_Waiting]) -> None:
        self._publisher.hand_over([waiting.row for waiting in group if waiting.row.forward_to_statsig])


def _fail(group: Iterable[_Waiting], error: EventLoggingError) -> None:
    """Those that are not answered yet."""
    for waiting in group:
        if not waiting.settled.is_set():
            waiting.fail(error)


def _refuse(group: Iterable[_Waiting], *, guilty: bool) -> None:
    """Those whom Spanner refused: nothing of them is written."""
    for waiting in group:
        if guilty:
            waiting.fail(StorageRejectedError("Spanner refused the event's row"))
        else:
            waiting.fail(StorageUnavailableError("Spanner refused the commit; the event was not written"))

"""The group committer over a repository and a publisher whose failures a test scripts."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from ingress.commit.forward_publisher import ForwardPublisher
from ingress.commit.group_commit import GroupCommitter, Limits
from shared.errors import (
    EventLoggingError,
    RowExistsError,
    StorageRejectedError,
)
from shared.events.event import EventLogRow
from shared.events.event_log import Written
from shared.events.forward_message import EVENT_ID_ATTRIBUTE, OutgoingMessage
from tests.support.fakes.manual_clock import ManualClock
from tests.support.sample_requests import normalize, sample_request


def row(key: str = "", name: str = "order_paid", *, forward: bool = True, pad: int = 0) -> EventLogRow:
    return normalize(
        sample_request({"pad": "x" * pad}, event_name=name, idempotency_key=key, forward_to_statsig=forward)
    )


async def until_idle() -> None:
    """Wait until every other task is blocked."""
    await anyio.wait_all_tasks_blocked()


@dataclass
class MemoryRepository:
    """EventLogRepository in memory, with scripted failures."""

    stored: dict[str, EventLogRow] = field(default_factory=dict)
    attempts: list[list[str]] = field(default_factory=list)
    """The event names of each append's rows."""

    gate: anyio.Event | None = None
    """An event that appends wait for; None lets them pass."""

    answers: deque[BaseException | None] = field(default_factory=deque)
    """Errors that the next appends raise instead of storing, in order; None stores."""

    lost_answers: deque[BaseException | None] = field(default_factory=deque)
    """Errors that the next appends raise after storing: their answer is lost."""

    bad_names: frozenset[str] = frozenset()
    refusal: type[EventLoggingError] = StorageRejectedError
    """The error of an append that has a row with one of `bad_names`."""

    read_error: EventLoggingError | None = None
    blind: bool = False
    """Whether reads find nothing."""

    async def append(self, rows: Sequence[EventLogRow]) -> None:
        self.attempts.append([one.event.event_name for one in rows])
        ids = [one.event.event_id for one in rows]
        assert len(set(ids)) == len(ids), "the port forbids two rows of one event_id"
        if self.gate is not None:
            await self.gate.wait()
        await anyio.lowlevel.checkpoint()
        if self.answers and (answer := self.answers.popleft()) is not None:
            raise answer
        if any(one.event.event_name in self.bad_names for one in rows):
            raise self.refusal("a row is bad")
        if any(event_id in self.stored for event_id in ids):
            raise RowExistsError("exists")
        self.stored |= dict(zip(ids, rows, strict=True))
        if self.lost_answers and (answer := self.lost_answers.popleft()) is not None:
            raise answer

    async def written(self, event_ids: Sequence[str]) -> dict[str, Written]:
        await anyio.lowlevel.checkpoint()
        if self.read_error:
            raise self.read_error
        if self.blind:
            return {}
        found = {one: self.stored[one] for one in event_ids if one in self.stored}
        return {one: Written(row.request_digest, row.write_id) for one, row in found.items()}


@dataclass
class MemoryPublisher:
    """Publisher in memory, with scripted failures."""

    published: list[list[str]] = field(default_factory=list)
    attempts: int = 0
    failure: Exception | None = None
    gate: anyio.Event | None = None

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        self.attempts += 1
        if self.gate is not None:
            await self.gate.wait()
        await anyio.lowlevel.checkpoint()
        if self.failure:
            raise self.failure
        self.published.append([message.attributes[EVENT_ID_ATTRIBUTE] for message in messages])

    @property
    def event_ids(self) -> list[str]:
        return [event_id for batch in self.published for event_id in batch]


@dataclass
class Calls:
    """The outcome of concurrent calls of `commit`, by the name that the test gave each."""

    committer: GroupCommitter
    repository: MemoryRepository
    publisher: MemoryPublisher
    outcomes: dict[str, bool | EventLoggingError] = field(default_factory=dict)

    async def published_ids(self) -> list[str]:
        """The published event_ids, once every task is blocked."""
        await until_idle()
        return self.publisher.event_ids

    async def commit_all(self, name: str, rows: Sequence[EventLogRow], caller: str = "") -> None:
        for number, outcome in enumerate(await self.committer.commit_all(rows, caller)):
            self.outcomes[f"{name} {number}"] = outcome

    async def commit(self, name: str, one: EventLogRow, caller: str = "") -> None:
        try:
            self.outcomes[name] = await self.committer.commit(one, caller)
        except EventLoggingError as error:
            self.outcomes[name] = error


@asynccontextmanager
async def committing(
    repository: MemoryRepository | None = None,
    publisher: MemoryPublisher | None = None,
    *,
    concurrency: int = 1,
    rows: int = 256,
    queue_rows: int = 4096,
    queue_bytes: int = 1_000_000,
    patience_seconds: float = 30.0,
) -> AsyncIterator[Calls]:
    repository = repository or MemoryRepository()
    publisher = publisher or MemoryPublisher()
    async with anyio.create_task_group() as tasks:
        committer = GroupCommitter(
            repository=repository,
            publisher=ForwardPublisher(publisher, ManualClock(), task_group=tasks, gather_seconds=0),
            limits=Limits(
                concurrency=concurrency,
                rows=rows,
                queue_rows=queue_rows,
                queue_bytes=queue_bytes,
                patience_seconds=patience_seconds,
            ),
            task_group=tasks,
        )
        yield Calls(committer, repository, publisher)
        tasks.cancel_scope.cancel()


async def commit_as_one_group(calls: Calls, rows: dict[str, EventLogRow]) -> None:
    """Commits `rows` behind a commit in flight, so that they all share the next one."""
    gate = calls.repository.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(calls.commit, "before", row(name="before", forward=False))
        await until_idle()
        for name, one in rows.items():
            group.start_soon(calls.commit, name, one)
            await until_idle()
        gate.set()
    calls.repository.gate = None
    assert calls.outcomes.pop("before") is False
    del calls.repository.attempts[0]

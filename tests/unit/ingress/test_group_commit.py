"""Which rows share a commit and a publish, and when a call is answered."""

from functools import partial

import anyio
import pytest

from shared.errors import (
    DrainingError,
    PublishFailedError,
    StorageUnavailableError,
)
from tests.support.fakes.committing import MemoryPublisher, MemoryRepository, committing, row, until_idle


async def test_a_lone_row_is_committed_at_once() -> None:
    async with committing() as calls:
        assert await calls.committer.commit(row()) is False

        assert len(calls.repository.stored) == 1
        assert await calls.published_ids() == list(calls.repository.stored)


async def test_a_row_that_is_not_to_be_forwarded_is_not_published() -> None:
    async with committing() as calls:
        await calls.committer.commit(row(forward=False))

        assert len(calls.repository.stored) == 1
        assert calls.publisher.attempts == 0


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_rows_that_arrive_while_commits_are_in_flight_share_the_next(concurrency: int) -> None:
    gate = anyio.Event()
    async with (
        committing(MemoryRepository(gate=gate), concurrency=concurrency) as calls,
        anyio.create_task_group() as g,
    ):
        for number in range(concurrency + 5):
            g.start_soon(calls.commit, str(number), row(name=f"n{number}"))
            await until_idle()
        gate.set()

    first = [[f"n{number}"] for number in range(concurrency)]
    assert calls.repository.attempts == [*first, [f"n{concurrency + number}" for number in range(5)]]
    assert set(calls.outcomes.values()) == {False}
    assert len(await calls.published_ids()) == concurrency + 5


async def test_a_commits_events_share_a_publish() -> None:
    gate = anyio.Event()
    async with committing(MemoryRepository(gate=gate)) as calls:
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(calls.commit, str(number), row(forward=number != 2))
                await until_idle()
            gate.set()
        await until_idle()

        assert [len(batch) for batch in calls.publisher.published] == [1, 2]


async def test_what_is_committed_during_a_publish_shares_the_next_one() -> None:
    gate = anyio.Event()
    async with committing(publisher=MemoryPublisher(gate=gate)) as calls:
        for _ in range(4):
            await calls.committer.commit(row())
            await until_idle()
        gate.set()
        await until_idle()

        assert [len(batch) for batch in calls.publisher.published] == [1, 3]


async def test_a_call_is_answered_at_its_commit_however_long_the_publish_takes() -> None:
    async with committing(publisher=MemoryPublisher(gate=anyio.Event())) as calls:
        with anyio.fail_after(1):
            for _ in range(10):
                assert await calls.committer.commit(row()) is False
        await until_idle()

        assert calls.publisher.attempts == 1


async def test_a_commit_has_at_most_the_allowed_rows() -> None:
    gate = anyio.Event()
    async with committing(MemoryRepository(gate=gate), rows=3) as calls, anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(calls.commit, str(number), row())
            await until_idle()
        gate.set()

    assert [len(names) for names in calls.repository.attempts] == [1, 3, 3, 1]


async def test_draining_refuses_new_rows_and_commits_those_that_wait() -> None:
    gate = anyio.Event()
    async with committing(MemoryRepository(gate=gate)) as calls, anyio.create_task_group() as group:
        for name in "ab":
            group.start_soon(calls.commit, name, row())
            await until_idle()
        calls.committer.drain()
        with pytest.raises(DrainingError):
            await calls.committer.commit(row())
        gate.set()

    assert calls.outcomes == {"a": False, "b": False}
    assert len(await calls.published_ids()) == 2


async def test_a_caller_that_hangs_up_before_the_commit_began_leaves_no_row() -> None:
    gate = anyio.Event()
    async with committing(MemoryRepository(gate=gate)) as calls:
        async with anyio.create_task_group() as group:
            group.start_soon(calls.commit, "first", row(name="first"))
            await until_idle()
            with anyio.CancelScope() as hung_up:
                group.start_soon(partial(_cancel_when_idle, hung_up))
                await calls.commit("gone", row(name="gone"))
            group.start_soon(calls.commit, "last", row(name="last"))
            await until_idle()
            gate.set()
        await until_idle()

        assert "gone" not in calls.outcomes
        assert calls.repository.attempts == [["first"], ["last"]]


async def test_a_caller_that_hangs_up_after_the_commit_began_loses_nothing() -> None:
    gate = anyio.Event()
    async with committing(MemoryRepository(gate=gate)) as calls:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as hung_up:
                group.start_soon(partial(_cancel_when_idle, hung_up))
                await calls.commit("gone", row())
        gate.set()
        await until_idle()

        assert "gone" not in calls.outcomes
        assert len(calls.repository.stored) == 1
        assert await calls.published_ids() == list(calls.repository.stored)


async def _cancel_when_idle(scope: anyio.CancelScope) -> None:
    await until_idle()
    scope.cancel()


async def test_a_caller_whose_deadline_passes_before_the_publish_loses_nothing() -> None:
    gate = anyio.Event()
    async with committing(publisher=MemoryPublisher(gate=gate)) as calls:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as deadline:
                group.start_soon(partial(_cancel_when_idle, deadline))
                await calls.commit("gone", row())
        gate.set()
        await until_idle()

        assert await calls.published_ids() == list(calls.repository.stored)


@pytest.mark.parametrize("failure", [PublishFailedError("refused"), RuntimeError("a bug")])
async def test_a_publish_that_fails_never_fails_a_call(failure: Exception) -> None:
    async with committing(publisher=MemoryPublisher(failure=failure)) as calls:
        for _ in range(4):
            assert await calls.committer.commit(row()) is False

        assert len(calls.repository.stored) == 4


async def test_the_end_of_the_process_answers_every_call() -> None:
    async with anyio.create_task_group() as group, committing(MemoryRepository(gate=anyio.Event())) as calls:
        group.start_soon(calls.commit, "in flight", row())
        await until_idle()

    assert isinstance(calls.outcomes["in flight"], StorageUnavailableError)

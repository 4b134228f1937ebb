"""Which rows share a commit, and what overload, draining, impatience and hang-ups do."""

from functools import partial

import anyio
import pytest

from shared.errors import (
    CallerOverloadedError,
    DrainingError,
    OverloadedError,
    PublishFailedError,
    StorageUnavailableError,
)
from tests.support.fakes.committing import Calls, MemoryPublisher, MemoryRepository, committing, row, until_idle


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


async def test_refuses_more_rows_of_one_caller_than_half_of_what_may_wait() -> None:
    gate = anyio.Event()
    async with committing(MemoryRepository(gate=gate), queue_rows=4) as calls, anyio.create_task_group() as group:
        for number in range(4):  # one is in a commit, two wait
            group.start_soon(calls.commit, str(number), row())
            await until_idle()
        assert isinstance(calls.outcomes["3"], CallerOverloadedError)
        gate.set()

    assert [calls.outcomes[name] for name in "012"] == [False] * 3
    assert len(calls.repository.stored) == 3


async def test_refuses_more_bytes_of_one_caller_than_half_of_what_may_wait() -> None:
    gate = anyio.Event()
    async with committing(MemoryRepository(gate=gate), queue_bytes=5500) as calls, anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(calls.commit, str(number), row(pad=1500))
            await until_idle()
        assert isinstance(calls.outcomes["2"], CallerOverloadedError)
        group.start_soon(calls.commit, "small", row())
        await until_idle()
        gate.set()

    assert calls.outcomes["small"] is False


async def test_accepts_again_when_the_queue_is_empty_again() -> None:
    gate = anyio.Event()
    repository = MemoryRepository(gate=gate)
    async with committing(repository, queue_rows=1, queue_bytes=2000) as calls, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(calls.commit, "any", row(pad=1000))
            await until_idle()
        gate.set()
        await until_idle()
        for _ in range(5):
            assert await calls.committer.commit(row(pad=1000)) is False


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


async def test_an_uncommitted_row_is_unavailable_when_patience_ends() -> None:
    async with committing(MemoryRepository(gate=anyio.Event()), patience_seconds=0.05) as calls:
        with pytest.raises(StorageUnavailableError), anyio.fail_after(5):
            await calls.committer.commit(row())


async def test_a_row_that_waited_in_vain_is_left_out_of_the_next_commit() -> None:
    gate = anyio.Event()
    async with committing(MemoryRepository(gate=gate), patience_seconds=0.05) as calls:
        async with anyio.create_task_group() as group:
            group.start_soon(calls.commit, "in flight", row(name="in flight"))
            await until_idle()
            group.start_soon(calls.commit, "waiting", row(name="waiting"))
        gate.set()
        await until_idle()

        assert {type(outcome) for outcome in calls.outcomes.values()} == {StorageUnavailableError}
        assert calls.repository.attempts == [["in flight"]]


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


async def test_a_row_that_comes_behind_anothers_flood_is_in_the_next_commit() -> None:
    gate = anyio.Event()
    async with committing(MemoryRepository(gate=gate), rows=256) as calls, anyio.create_task_group() as group:
        group.start_soon(calls.commit, "first", row(name="first"), "flood")
        await until_idle()
        group.start_soon(calls.commit_all, "flood", [row(name="flood") for _ in range(500)], "flood")
        await until_idle()
        group.start_soon(calls.commit, "polite", row(name="polite"), "polite")
        await until_idle()
        gate.set()

    assert "polite" in calls.repository.attempts[1]
    assert set(calls.outcomes.values()) == {False}


async def test_a_flood_is_refused_and_others_are_written_beside_it() -> None:
    gate = anyio.Event()
    async with committing(MemoryRepository(gate=gate), queue_rows=100) as calls, anyio.create_task_group() as group:
        group.start_soon(calls.commit, "first", row(), "flood")
        await until_idle()
        group.start_soon(calls.commit_all, "flood", [row() for _ in range(200)], "flood")
        group.start_soon(calls.commit_all, "polite", [row() for _ in range(20)], "polite")
        await until_idle()
        gate.set()

    refused = {name for name, outcome in calls.outcomes.items() if isinstance(outcome, CallerOverloadedError)}
    assert len(refused) == 150
    assert all(name.startswith("flood") for name in refused)
    assert [outcome for name, outcome in calls.outcomes.items() if name not in refused] == [False] * 71


async def answers_one_commit(calls: Calls) -> None:
    """Let the commit in flight succeed, and the next one take its time."""
    assert calls.repository.gate is not None
    gate, calls.repository.gate = calls.repository.gate, anyio.Event()
    gate.set()
    await until_idle()


async def test_who_waited_behind_own_rows_in_vain_is_told_that_nothing_was_written_and_why() -> None:
    async with (
        committing(MemoryRepository(gate=anyio.Event()), rows=1, patience_seconds=0.5) as calls,
        anyio.create_task_group() as group,
    ):
        group.start_soon(calls.commit_all, "flood", [row(name=str(number)) for number in range(3)], "flood")
        await until_idle()
        await answers_one_commit(calls)

    assert [type(calls.outcomes[f"flood {number}"]) for number in range(3)] == [
        bool,
        StorageUnavailableError,  # a commit has it
        CallerOverloadedError,
    ]


async def test_who_waited_behind_others_in_vain_is_told_that_there_are_too_many() -> None:
    async with (
        committing(MemoryRepository(gate=anyio.Event()), rows=1, patience_seconds=0.5) as calls,
        anyio.create_task_group() as group,
    ):
        for caller in ("first", "second", "third"):
            group.start_soon(calls.commit, caller, row(name=caller), caller)
            await until_idle()
        await answers_one_commit(calls)

    assert type(calls.outcomes["third"]) is OverloadedError
    assert "third" not in [name for names in calls.repository.attempts for name in names]


async def test_where_nothing_is_written_at_all_it_is_not_called_load() -> None:
    async with (
        committing(MemoryRepository(gate=anyio.Event()), rows=1, patience_seconds=0.05) as calls,
        anyio.create_task_group() as group,
    ):
        group.start_soon(calls.commit_all, "flood", [row() for _ in range(3)], "flood")

    assert {type(outcome) for outcome in calls.outcomes.values()} == {StorageUnavailableError}


async def test_where_rows_cost_time_a_flood_leaves_moments_for_whoever_comes() -> None:
    async with committing(MemoryRepository(gate=anyio.Event()), rows=16) as calls, anyio.create_task_group() as group:
        for caller in ("polite", "flood"):
            group.start_soon(calls.commit, caller, row(), caller)
            await until_idle()
        calls.committer._size.rows = 8
        group.start_soon(calls.commit_all, "flood", [row(name="flood") for _ in range(100)], "flood")
        await anyio.sleep(0.2)  # the commit in flight takes so long, and as long is the moment
        await answers_one_commit(calls)
        assert len(calls.repository.attempts) == 1
        group.start_soon(calls.commit, "polite", row(name="polite"), "polite")
        await until_idle()
        assert calls.repository.gate is not None
        calls.repository.gate.set()

    assert "polite" in calls.repository.attempts[1]
    assert set(calls.outcomes.values()) == {False}

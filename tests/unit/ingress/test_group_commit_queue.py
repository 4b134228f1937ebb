"""Rows that wait for a commit: how many may, how long they do, and what becomes of those of a flood."""

import anyio
import pytest

from shared.errors import (
    CallerOverloadedError,
    OverloadedError,
    StorageUnavailableError,
)
from tests.support.eventually import eventually
from tests.support.fakes.committing import Calls, MemoryRepository, committing, row, until_idle


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


async def test_where_rows_cost_time_who_comes_behind_a_flood_has_a_commit_without_it() -> None:
    async with committing(MemoryRepository(gate=anyio.Event()), rows=16) as calls, anyio.create_task_group() as group:
        for caller in ("polite", "flood"):
            group.start_soon(calls.commit, caller, row(name=caller), caller)
            await until_idle()
        calls.committer._size.rows = 8
        group.start_soon(calls.commit_all, "flood", [row(name="flood") for _ in range(100)], "flood")
        await answers_one_commit(calls)
        await eventually(lambda: len(calls.repository.attempts) == 2)  # after a moment for others
        group.start_soon(calls.commit, "polite", row(name="polite"), "polite")
        await until_idle()
        await answers_one_commit(calls)
        assert calls.repository.gate is not None
        calls.repository.gate.set()

    assert calls.repository.attempts[:3] == [["polite"], ["flood"] * 8, ["polite"]]
    assert "flood" in calls.repository.attempts[3]
    assert set(calls.outcomes.values()) == {False}

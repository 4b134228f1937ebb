"""What an outage, a bug, or a row that exists already means for each call of a group commit."""

import anyio
import pytest

from shared.errors import (
    EventLoggingError,
    IdempotencyConflictError,
    RowExistsError,
    StorageUnavailableError,
)
from shared.events.event_log import Written
from tests.support.fakes.committing import (
    MemoryPublisher,
    MemoryRepository,
    commit_as_one_group,
    committing,
    row,
)


async def test_a_retry_with_the_same_content_is_a_duplicate() -> None:
    async with committing() as calls:
        first = await calls.committer.commit(row("key"))
        again = await calls.committer.commit(row("key"))

        assert (first, again) == (False, True)
        assert len(calls.repository.stored) == 1
        assert len(await calls.published_ids()) == 1


async def test_a_reused_key_with_other_content_is_a_conflict() -> None:
    async with committing() as calls:
        await calls.committer.commit(row("key"))
        with pytest.raises(IdempotencyConflictError):
            await calls.committer.commit(row("key", name="other"))

        assert [one.event.event_name for one in calls.repository.stored.values()] == ["order_paid"]


async def test_one_key_several_times_in_a_group_is_one_row() -> None:
    async with committing() as calls:
        await commit_as_one_group(calls, {"a": row("key"), "b": row("key"), "c": row("key"), "other": row("key-2")})

        assert calls.outcomes == {"a": False, "b": True, "c": True, "other": False}
        assert calls.repository.attempts == [["order_paid"] * 2]
        assert len(await calls.published_ids()) == 2


async def test_one_key_with_two_contents_in_a_group_is_a_conflict_for_the_later() -> None:
    async with committing() as calls:
        await commit_as_one_group(calls, {"a": row("key"), "b": row("key", name="other"), "c": row("key")})

        assert calls.outcomes.pop("a") is False
        assert calls.outcomes.pop("c") is True
        assert isinstance(calls.outcomes["b"], IdempotencyConflictError)


async def test_rows_that_exist_do_not_hold_up_the_others() -> None:
    async with committing() as calls:
        await calls.committer.commit(row("old"))
        await calls.committer.commit(row("taken"))
        calls.repository.attempts.clear()
        rows = {"retry": row("old"), "follower": row("old"), "conflict": row("taken", name="x"), "new": row("n")}
        await commit_as_one_group(calls, rows | {"unkeyed": row()})

        assert isinstance(calls.outcomes.pop("conflict"), IdempotencyConflictError)
        assert calls.outcomes == {"retry": True, "follower": True, "new": False, "unkeyed": False}
        assert len(calls.repository.stored) == 5
        assert len(await calls.published_ids()) == 4


async def test_a_follower_of_a_row_that_exists_is_judged_by_its_own_content() -> None:
    async with committing() as calls:
        await calls.committer.commit(row("key"))
        await commit_as_one_group(calls, {"conflict": row("key", name="other"), "retry": row("key")})

        assert isinstance(calls.outcomes["conflict"], IdempotencyConflictError)
        assert calls.outcomes["retry"] is True


async def test_ones_own_write_whose_answer_was_lost_is_a_success_and_published() -> None:
    repository = MemoryRepository()
    repository.lost_answers.append(RowExistsError("the client retried a commit that had happened"))
    async with committing(repository) as calls:
        assert await calls.committer.commit(row()) is False

        assert await calls.published_ids() == list(repository.stored)


async def test_a_group_whose_answer_was_lost_is_a_success_for_each_and_published() -> None:
    async with committing() as calls:
        calls.repository.lost_answers.extend([None, RowExistsError("the client retried a commit that had happened")])
        await commit_as_one_group(calls, {"unkeyed": row(), "keyed": row("key"), "again": row("key")})

        assert calls.outcomes == {"unkeyed": False, "keyed": False, "again": True}
        assert len(calls.repository.attempts) == 1
        assert len(await calls.published_ids()) == 2


async def test_a_keyed_event_whose_answer_was_lost_is_new_and_the_next_call_with_its_key_a_duplicate() -> None:
    repository = MemoryRepository()
    repository.lost_answers.append(RowExistsError("the client retried a commit that had happened"))
    async with committing(repository) as calls:
        assert await calls.committer.commit(row("key")) is False
        assert await calls.committer.commit(row("key")) is True

        assert await calls.published_ids() == list(repository.stored)


async def test_ones_own_write_does_not_hide_another_content_of_its_key() -> None:
    async with committing() as calls:
        calls.repository.lost_answers.extend([None, RowExistsError("the client retried a commit that had happened")])
        await commit_as_one_group(calls, {"own": row("key"), "conflict": row("key", name="other")})

        assert calls.outcomes["own"] is False
        assert isinstance(calls.outcomes["conflict"], IdempotencyConflictError)


async def test_an_outage_fails_the_whole_group_and_nothing_is_published() -> None:
    async with committing() as calls:
        calls.repository.answers.extend([None, StorageUnavailableError("down")])
        await commit_as_one_group(calls, {"a": row(), "b": row("k"), "b again": row("k")})

        assert {type(outcome) for outcome in calls.outcomes.values()} == {StorageUnavailableError}
        assert await calls.published_ids() == []
        assert await calls.committer.commit(row()) is False


async def test_an_unreadable_row_that_exists_is_unavailable() -> None:
    repository = MemoryRepository(read_error=StorageUnavailableError("down"))
    async with committing(repository) as calls:
        await calls.committer.commit(row("key"))
        with pytest.raises(StorageUnavailableError):
            await calls.committer.commit(row("key"))


async def test_a_row_that_both_exists_and_does_not_ends() -> None:
    repository = MemoryRepository(blind=True)
    async with committing(repository) as calls:
        await calls.committer.commit(row("key"))
        with pytest.raises(StorageUnavailableError), anyio.fail_after(5):
            await calls.committer.commit(row("key"))


async def test_a_bug_fails_its_calls_and_not_those_after() -> None:
    async with committing() as calls:
        calls.repository.answers.append(RuntimeError("secret text"))
        with pytest.raises(EventLoggingError) as caught:
            await calls.committer.commit(row())

        assert type(caught.value) is EventLoggingError
        assert "secret" not in str(caught.value)
        assert await calls.committer.commit(row()) is False


async def test_a_bug_in_a_read_fails_its_calls_and_not_those_after() -> None:
    async with committing() as calls:
        await calls.committer.commit(row("key"))

        async def broken(event_ids: object) -> dict[str, Written]:
            del event_ids
            await anyio.lowlevel.checkpoint()
            raise KeyError("_eventLog")

        whole = calls.repository.written
        calls.repository.written = broken  # type: ignore[method-assign] # a fault to order
        with pytest.raises(EventLoggingError), anyio.fail_after(5):
            await calls.committer.commit(row("key"))
        calls.repository.written = whole  # type: ignore[method-assign] # as above

        assert await calls.committer.commit(row("key")) is True


async def test_a_duplicate_does_not_wait_for_a_slow_publish() -> None:
    async with committing() as calls:
        await calls.committer.commit(row("key"))
    async with committing(calls.repository, MemoryPublisher(gate=anyio.Event())) as slow:
        with anyio.fail_after(5):
            assert await slow.committer.commit(row("key")) is True

"""What a commit that fails, or a row that exists already, means for each call of the group."""

import anyio
import pytest

from ingress.commit.search import SPARE_COMMITS
from shared.errors import (
    EventLoggingError,
    IdempotencyConflictError,
    RowExistsError,
    StoragePreconditionError,
    StorageRejectedError,
    StorageUnavailableError,
)
from shared.events.event import EventLogRow
from shared.spanner.event_log import Written
from tests.support.fakes.committing import Calls, MemoryPublisher, MemoryRepository, committing, row, until_idle


async def commit_as_one_group(calls: Calls, rows: dict[str, EventLogRow]) -> None:
    """Behind a commit that is in flight, so that they all share the next."""
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


async def test_one_bad_row_fails_alone() -> None:
    async with committing(MemoryRepository(bad_names=frozenset({"bad"}))) as calls:
        rows = {f"good-{n}": row() for n in range(6)} | {"bad": row(name="bad")} | {"good-7": row()}
        await commit_as_one_group(calls, rows)

        assert isinstance(calls.outcomes.pop("bad"), StorageRejectedError)
        assert set(calls.outcomes.values()) == {False}
        assert len(calls.repository.stored) == 8
        assert len(await calls.published_ids()) == 7


async def test_a_bad_row_takes_its_followers_with_it() -> None:
    async with committing(MemoryRepository(bad_names=frozenset({"bad"}))) as calls:
        await commit_as_one_group(calls, {"bad": row("k", name="bad"), "again": row("k", name="bad"), "good": row()})

        assert isinstance(calls.outcomes["bad"], StorageRejectedError)
        assert isinstance(calls.outcomes["again"], StorageRejectedError)
        assert calls.outcomes["good"] is False


REFUSALS = [StorageRejectedError, StoragePreconditionError]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_one_bad_row_of_256_is_found_in_few_commits(refusal: type[EventLoggingError]) -> None:
    async with committing(MemoryRepository(bad_names=frozenset({"bad"}), refusal=refusal)) as calls:
        rows = {f"good-{n}": row() for n in range(255)}
        await commit_as_one_group(calls, dict([*list(rows.items())[:99], ("bad", row(name="bad"))]) | rows)

        assert type(calls.outcomes.pop("bad")) is StorageRejectedError
        assert set(calls.outcomes.values()) == {False}
        assert len(calls.repository.attempts) <= 1 + 16 + SPARE_COMMITS
        assert len(await calls.published_ids()) == 255


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_where_nothing_succeeds_nobody_is_blamed(refusal: type[EventLoggingError]) -> None:
    async with committing(MemoryRepository(bad_names=frozenset({"any"}), refusal=refusal)) as calls:
        await commit_as_one_group(calls, {str(n): row(name="any") for n in range(256)})

        assert {type(outcome) for outcome in calls.outcomes.values()} == {StorageUnavailableError}
        assert len(calls.repository.attempts) <= 1 + 16 + SPARE_COMMITS
        assert await calls.published_ids() == []


@pytest.mark.parametrize(
    ("refusal", "answer"),
    [(StorageRejectedError, StorageRejectedError), (StoragePreconditionError, StorageUnavailableError)],
)
async def test_a_lone_row_is_blamed_only_for_what_cannot_be_the_databases(
    refusal: type[EventLoggingError], answer: type[EventLoggingError]
) -> None:
    async with committing(MemoryRepository(bad_names=frozenset({"bad"}), refusal=refusal)) as calls:
        with pytest.raises(EventLoggingError) as caught:
            await calls.committer.commit(row(name="bad"))

        assert type(caught.value) is answer
        assert len(calls.repository.attempts) == 1


async def test_an_outage_in_a_search_ends_it_and_blames_nobody() -> None:
    async with committing(MemoryRepository(bad_names=frozenset({"bad"}))) as calls:
        rejected = StorageRejectedError("a row is bad")
        calls.repository.answers.extend([None, rejected, None, StorageUnavailableError("down")])
        rows = {"a": row(), "b": row(), "bad": row(name="bad"), "c": row()}
        await commit_as_one_group(calls, rows)

        assert [calls.outcomes[name] for name in "ab"] == [False, False]
        assert type(calls.outcomes["bad"]) is StorageUnavailableError
        assert type(calls.outcomes["c"]) is StorageUnavailableError
        assert len(await calls.published_ids()) == 2


async def test_rows_that_exist_are_answered_in_a_search_too() -> None:
    async with committing(MemoryRepository(bad_names=frozenset({"bad"}))) as calls:
        await calls.committer.commit(row("key"))
        calls.repository.attempts.clear()
        await commit_as_one_group(calls, {"retry": row("key"), "good": row(), "bad": row(name="bad"), "other": row()})

        assert type(calls.outcomes.pop("bad")) is StorageRejectedError
        assert calls.outcomes == {"retry": True, "good": False, "other": False}


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

"""A group commit that is refused: bad rows are searched, found and fail alone."""

import pytest

from ingress.commit.search import SPARE_COMMITS
from shared.errors import (
    EventLoggingError,
    StoragePreconditionError,
    StorageRejectedError,
    StorageUnavailableError,
)
from tests.support.fakes.committing import MemoryRepository, commit_as_one_group, committing, row


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

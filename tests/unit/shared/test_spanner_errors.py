"""Which of our errors each of Spanner's becomes."""

import asyncio

import anyio
import pytest
from google.api_core import exceptions as google

from shared.errors import (
    EventLoggingError,
    RowExistsError,
    StoragePreconditionError,
    StorageRejectedError,
    StorageUnavailableError,
)
from shared.spanner.connection import spanner_call


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (google.AlreadyExists, RowExistsError),
        (google.InvalidArgument, StorageRejectedError),
        (google.OutOfRange, StorageRejectedError),
        (google.FailedPrecondition, StoragePreconditionError),
        # Of a table, a column, the database, the session or a transaction.
        (google.NotFound, StorageUnavailableError),
        (google.PermissionDenied, StorageUnavailableError),
        (google.Unauthenticated, StorageUnavailableError),
        (google.ResourceExhausted, StorageUnavailableError),
        (google.Aborted, StorageUnavailableError),
        (google.Cancelled, StorageUnavailableError),
        (google.DeadlineExceeded, StorageUnavailableError),
        (google.ServiceUnavailable, StorageUnavailableError),
        (google.InternalServerError, StorageUnavailableError),
        (google.MethodNotImplemented, StorageUnavailableError),
        (google.DataLoss, StorageUnavailableError),
        (google.Unknown, StorageUnavailableError),
    ],
)
async def test_only_what_a_statement_says_is_its_fault(
    answer: type[google.GoogleAPICallError], meaning: type[EventLoggingError]
) -> None:
    with pytest.raises(EventLoggingError) as caught:
        async with spanner_call(5):
            raise answer("a secret text")

    assert type(caught.value) is meaning
    assert "secret" not in str(caught.value)


async def test_a_retry_that_ends_is_unavailable() -> None:
    with pytest.raises(StorageUnavailableError):
        async with spanner_call(5):
            raise google.RetryError("too long", cause=None)


async def test_a_call_that_takes_too_long_is_unavailable() -> None:
    with pytest.raises(StorageUnavailableError):
        async with spanner_call(0.01):
            await anyio.sleep_forever()


async def test_a_bug_and_a_cancellation_stay_what_they_are() -> None:
    with pytest.raises(KeyError):
        async with spanner_call(5):
            raise KeyError
    with pytest.raises(asyncio.CancelledError):
        async with spanner_call(5):
            raise asyncio.CancelledError

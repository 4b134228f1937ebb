"""Opens the connection to Spanner, and translates its exceptions into ours: the only place that does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from google.api_core import exceptions as google
from google.auth.credentials import AnonymousCredentials
from google.cloud.spanner_v1 import AsyncClient

from shared.cancellation import anyio_cancellation
from shared.errors import (
    EventLoggingError,
    RowExistsError,
    StoragePreconditionError,
    StorageRejectedError,
    StorageUnavailableError,
)
from shared.process.settings import Settings
from shared.spanner.lasting_database import CLOSE_SECONDS, LastingDatabase
from shared.telemetry.providers import Telemetry

ABORTED_RETRY_SECONDS: Final = 0.003
"""The first wait after an ABORTED without RetryInfo; the client doubles and jitters it. With the client's own default
of 2 to 3 s, the emulator, which sends no RetryInfo, had a p99 of seconds with a few concurrent writers."""

_REJECTED: Final = (google.InvalidArgument, google.OutOfRange)
"""Errors that only the content of a statement can cause. A missing table, column or database is NOT_FOUND, and a
missing privilege PERMISSION_DENIED: neither is the statement's fault."""

_SESSION: Final = "type.googleapis.com/google.spanner.v1.Session"
"""The resource type that NOT_FOUND names if the session is lost (Spanner and emulator). If the database is missing, it
names the type of databases; for a row, a table, a column, or the emulator's ended transactions it names none."""


@asynccontextmanager
async def open_database(settings: Settings, telemetry: Telemetry | None = None) -> AsyncIterator[Any]:
    """The database of the settings, closed at the end. Opening does no I/O: the first call makes the session."""
    instance = create_client(settings.google_cloud_project, settings.spanner_emulator_host, telemetry).instance(
        settings.spanner_instance
    )

    async def connect() -> Any:
        return await instance.database(settings.spanner_database, database_role=settings.spanner_database_role)

    database = LastingDatabase(await connect(), connect=connect, is_lost_session=_is_lost_session)
    try:
        yield database
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS):
            await database.close()


def create_client(project: str, emulator_host: str | None, telemetry: Telemetry | None = None) -> AsyncClient:
    """A Spanner client, of the emulator if `emulator_host` is set; with telemetry it traces its own calls."""
    # Extended tracing would add the statements to spans.
    tracing = telemetry and {"tracer_provider": telemetry.tracer_provider, "enable_extended_tracing": False}
    # Built-in metrics would export to Cloud Monitoring, for which the process's identity has no permission.
    if emulator_host is None:
        return AsyncClient(project=project, disable_builtin_metrics=True, observability_options=tracing)
    return AsyncClient(
        project=project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": emulator_host},
        disable_builtin_metrics=True,
        observability_options=tracing,
    )


@asynccontextmanager
async def spanner_call(timeout_seconds: float) -> AsyncIterator[None]:
    """Wrap every call: bounds it in wall-clock time and translates Google's exceptions.

    The client cannot bound it: its `timeout_secs` bounds retries of ABORTED, not the RPC (a commit against a hung
    server was seen to block for 15 s and then succeed), and the emulator ignores gRPC deadlines.

    Raises:
        RowExistsError: an insert of a key that exists.
        StorageRejectedError: the statement is at fault.
        StoragePreconditionError: the statement or the state of the database is at fault.
        StorageUnavailableError: anything else, a timeout included; the outcome of a commit is then unknown.
    """
    try:
        with anyio.fail_after(timeout_seconds):
            async with anyio_cancellation():
                yield
    except TimeoutError as error:
        raise StorageUnavailableError(f"Spanner did not answer within {timeout_seconds:g} s") from error
    except (google.GoogleAPICallError, google.RetryError) as error:
        raise _translate(error) from error


def _translate(error: Exception) -> EventLoggingError:
    kind = type(error).__name__
    if isinstance(error, google.AlreadyExists):
        return RowExistsError("a row with this key exists already")
    if isinstance(error, _REJECTED):
        return StorageRejectedError(f"Spanner refused the statement ({kind})")
    if isinstance(error, google.FailedPrecondition):
        return StoragePreconditionError(f"Spanner refused the statement ({kind})")
    return StorageUnavailableError(f"Spanner is not available ({kind})")


def _is_lost_session(error: BaseException) -> bool:
    """Whether a call failed because its session is gone.

    Looks through the chain of exceptions: after a failed read the client asks for the session, which our roles may not,
    and raises PERMISSION_DENIED instead.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, google.NotFound) and any(
            getattr(detail, "resource_type", None) == _SESSION for detail in cause.details
        ):
            return True
        cause = cause.__context__
    return False

"""The connection to Spanner, and the one place where its exceptions become ours."""

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
"""The first wait after an ABORTED that carries no RetryInfo. The client's own default is 2 to 3 s, which the emulator
(it sends none) turns into a p99 of seconds with a few concurrent writers; doubled and jittered by the client."""

_REJECTED: Final = (google.InvalidArgument, google.OutOfRange)
"""What only the statement's own content can be the cause of. An absent table, column or database is NOT_FOUND, a role
that may not PERMISSION_DENIED: not the statement's fault."""

_SESSION: Final = "type.googleapis.com/google.spanner.v1.Session"
"""The resource that NOT_FOUND names where it is the session (Spanner and emulator alike). That of a row, a table or a
column names none, that of a database its own; the emulator's for a transaction that another one ended names none."""


@asynccontextmanager
async def open_database(settings: Settings, telemetry: Telemetry | None = None) -> AsyncIterator[Any]:
    """The database of the settings. Opening does no I/O: the client makes its session with the first call."""
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
    """A Spanner client, of the emulator where one is named; with telemetry it traces its own calls."""
    # Extended tracing adds the statements, whose place is not a trace.
    tracing = telemetry and {"tracer_provider": telemetry.tracer_provider, "enable_extended_tracing": False}
    # Built-in metrics export to Cloud Monitoring under the process's identity, which is not granted that.
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
    """Bound a call in wall-clock time and translate what it raises.

    The bound is our own: `timeout_secs` of the client bounds its retries of ABORTED, not the RPC (a commit against a
    hung server was seen to block for 15 s and then succeed), and the emulator ignores gRPC deadlines.

    Raises:
        RowExistsError: an insert met a key that exists.
        StorageRejectedError: the statement itself is at fault.
        StoragePreconditionError: the statement is at fault, or the database is.
        StorageUnavailableError: everything else, the bound included; the outcome of a commit is then unknown.
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
    """Whether the session is gone.

    The client may have hidden it: after a failed read it asks for the session, which our roles may not, and that
    PERMISSION_DENIED then comes out in its place.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, google.NotFound) and any(
            getattr(detail, "resource_type", None) == _SESSION for detail in cause.details
        ):
            return True
        cause = cause.__context__
    return False

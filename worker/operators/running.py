"""Runs one command: settings, logging, connections, Ctrl-C, and an exit code with one clear line for every failure."""

import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from typing import Final, NoReturn

import anyio
import typer
from google.api_core import exceptions as google
from google.auth import exceptions as google_auth

from shared.errors import EventLoggingError, SchemaMismatchError, SettingsError
from shared.fault_points import enable_fault_points
from shared.logs import configure_logging
from shared.settings import OperatorSettings, from_environment
from shared.telemetry.providers import Telemetry, open_telemetry
from worker.operators.connections import Connections, open_connections
from worker.operators.exits import BAD_NEWS, INTERRUPTED, UNAVAILABLE, WRONG_USAGE, UnknownError, UsageError

Work = Callable[[Connections], Awaitable[int]]

_CODES: Final[dict[type[EventLoggingError], int]] = {
    SettingsError: WRONG_USAGE,
    UsageError: WRONG_USAGE,
    UnknownError: BAD_NEWS,
}
"""Every other error of ours is a dependency's."""

FLUSH_SECONDS: Final = 5.0
"""A command is over before the first regular export: what it measured leaves at its end or never."""

_HINTS: Final = (
    ((google.Forbidden, google.Unauthenticated), "this identity may not: see `nest-events doctor` for the grants"),
    ((google.NotFound,), "it does not exist under this name: check the settings, or `nest-events doctor`"),
    ((google.ServiceUnavailable, TimeoutError), "it cannot be reached: `nest-events doctor` tells more"),
)

_NO_CREDENTIALS: Final = (
    "no Google credentials: run `gcloud auth application-default login`, or set SPANNER_EMULATOR_HOST and "
    "PUBSUB_EMULATOR_HOST"
)


def run_command(work: Work) -> NoReturn:
    """Run the work with connections and leave with its exit code.

    Cancelled by Ctrl-C or SIGTERM, the work finishes what it shields, and the exit code is INTERRUPTED.
    """
    try:
        settings = from_environment(OperatorSettings, os.environ)
        enable_fault_points(os.environ)
        # Never above INFO, whatever LOG_LEVEL says: the audit line must be written.
        level = "DEBUG" if settings.log_level == "DEBUG" else "INFO"
        project = settings.google_cloud_project
        configure_logging(process="nest-events", log_format="json", level=level, project=project, stream=sys.stderr)
        # On a terminal a library's warning is noise beside our own line about the same failure.
        logging.captureWarnings(capture=True)
        with open_telemetry(settings, process="operator", flush_seconds=FLUSH_SECONDS) as telemetry:
            code = anyio.run(_until_interrupted, work, settings, telemetry)
    except EventLoggingError as error:
        code = failed(error)
    except google_auth.DefaultCredentialsError:
        code = _say(_NO_CREDENTIALS, WRONG_USAGE)
    except google_auth.GoogleAuthError as error:
        code = _say(f"Google refused the credentials ({type(error).__name__}): log in anew", UNAVAILABLE)
    raise typer.Exit(code)


async def _until_interrupted(work: Work, settings: OperatorSettings, telemetry: Telemetry | None) -> int:
    code = INTERRUPTED
    failure: Exception | None = None
    # Python delivers signals to the main thread only; elsewhere (a test) there is nothing to receive.
    in_main = threading.current_thread() is threading.main_thread()
    receiver = anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) if in_main else nullcontext()
    with receiver as signals:
        async with anyio.create_task_group() as tasks:

            async def cancel_on(signals: AsyncIterator[signal.Signals]) -> None:
                async for _ in signals:
                    tasks.cancel_scope.cancel()

            if signals is not None:
                tasks.start_soon(cancel_on, signals)
            try:
                async with open_connections(settings, telemetry) as connections:
                    code = await work(connections)
            except Exception as error:  # noqa: BLE001 - carried out of the group, which would wrap it
                failure = _innermost(error)
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return code


def _innermost(error: Exception) -> Exception:
    """Of the groups that task groups make, the first error itself."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def failed(error: EventLoggingError) -> int:
    """Say what failed in one line; the exit code."""
    text = str(error)
    if not isinstance(error, SettingsError | UsageError | UnknownError | SchemaMismatchError):
        cause = error.__cause__
        text += next((f"; {hint}" for kinds, hint in _HINTS if isinstance(cause, kinds)), "")
    return _say(text, _CODES.get(type(error), UNAVAILABLE))


def _say(text: str, code: int) -> int:
    typer.echo(f"nest-events: {text}", err=True)
    return code

"""Runs one command: settings, logging, connections, Ctrl-C, and one line and an exit code for every failure."""

import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Final, NoReturn, TextIO, cast

import anyio
import typer
from google.auth import exceptions as google_auth

from shared.errors import EventLoggingError, SettingsError
from shared.process.fault_points import enable_fault_points
from shared.process.garbage_collection import tune_garbage_collection
from shared.process.logs import configure_logging
from shared.process.settings import OperatorSettings, from_environment
from shared.process.signals import on_termination
from shared.telemetry.providers import Telemetry, open_telemetry
from worker.operators.connections import Connections, open_connections
from worker.operators.exit_codes import (
    BAD_NEWS,
    INTERRUPTED,
    OUR_FAULT,
    OUTPUT_FAILED,
    UNAVAILABLE,
    WRONG_USAGE,
    OutputFailedError,
    UnknownError,
    UsageError,
)
from worker.operators.failure_reasons import explained

Work = Callable[[Connections], Awaitable[int]]


class _CurrentStderr(io.TextIOBase):
    """Writes to sys.stderr as it is at the time: rich replaces it while it shows a progress bar, to write above it."""

    def write(self, text: str, /) -> int:
        try:
            return sys.stderr.write(text)
        except OSError:  # a closed stderr must not end the work
            return 0


_CODES: Final[dict[type[EventLoggingError], int]] = {
    SettingsError: WRONG_USAGE,
    UsageError: WRONG_USAGE,
    UnknownError: BAD_NEWS,
    OutputFailedError: OUTPUT_FAILED,
}
"""Every other error of ours means that a dependency is not available: UNAVAILABLE."""

FLUSH_SECONDS: Final = 5.0
"""Time to export telemetry at the end: a command is over before the first regular export."""

_NO_CREDENTIALS: Final = (
    "no Google credentials: run `gcloud auth application-default login`, or set SPANNER_EMULATOR_HOST and "
    "PUBSUB_EMULATOR_HOST"
)


def run_command(work: Work) -> NoReturn:
    """Run the work with open connections, and exit with the code that it returns.

    Ctrl-C and SIGTERM cancel the work. It finishes what it shields, and the exit code is INTERRUPTED.

    Raises:
        typer.Exit: always; its code is the exit code.
    """
    settings: OperatorSettings | None = None
    try:
        tune_garbage_collection()
        settings = from_environment(OperatorSettings, os.environ)
        enable_fault_points(os.environ)
        # INFO even where LOG_LEVEL is higher: the audit line must be written.
        level = "DEBUG" if settings.log_level == "DEBUG" else "INFO"
        project = settings.google_cloud_project
        stream = cast("TextIO", _CurrentStderr())
        configure_logging(process="nest-events", log_format="json", level=level, project=project, stream=stream)
        # Library warnings become log lines, so that stderr has one format.
        logging.captureWarnings(capture=True)
        with open_telemetry(settings, process="operator", flush_seconds=FLUSH_SECONDS) as telemetry:
            code = anyio.run(_until_interrupted, work, settings, telemetry)
    except OutputFailedError as error:
        code = _output_failed(error)
    except EventLoggingError as error:
        code = failed(error, settings)
    except google_auth.DefaultCredentialsError:
        code = _say(_NO_CREDENTIALS, WRONG_USAGE)
    except google_auth.GoogleAuthError as error:
        code = _say(f"Google refused the credentials ({type(error).__name__}): log in again", UNAVAILABLE)
    except Exception:  # noqa: BLE001 - Python would exit with 1, which means bad news here
        traceback.print_exc()
        code = _say("a bug in nest-events; please report it with the lines above", OUR_FAULT)
    raise typer.Exit(code)


async def _until_interrupted(work: Work, settings: OperatorSettings, telemetry: Telemetry | None) -> int:
    code = INTERRUPTED
    # Python delivers signals to the main thread only; in any other (a test's) there are none to receive.
    in_main = threading.current_thread() is threading.main_thread()
    with anyio.CancelScope() as scope:
        async with on_termination(lambda _: scope.cancel()) if in_main else nullcontext():
            try:
                async with open_connections(settings, telemetry) as connections:
                    code = await work(connections)
            except ExceptionGroup as error:
                raise _innermost(error) from None
    return code


def _innermost(error: Exception) -> Exception:
    """The first error itself, without the groups in which task groups wrap it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def failed(error: EventLoggingError, settings: OperatorSettings | None = None) -> int:
    """Write one line about the failure to stderr, with the settings that name the dependency; return the exit code."""
    text = str(error) if settings is None else explained(error, settings)
    return _say(text, _CODES.get(type(error), UNAVAILABLE))


def _output_failed(error: OutputFailedError) -> int:
    """Silent where the reader has closed the pipe, as `head` does once it has its lines."""
    # Python flushes stdout when it exits, and would report the same error again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OUTPUT_FAILED if isinstance(error.__cause__, BrokenPipeError) else failed(error)


def _say(text: str, code: int) -> int:
    typer.echo(f"nest-events: {text}", err=True)
    return code

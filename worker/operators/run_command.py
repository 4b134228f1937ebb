"""Runs one command: settings, logging, connections, Ctrl-C, and an exit code with one clear line for every failure."""

import io
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from typing import Final, NoReturn, TextIO, cast

import anyio
import typer
from google.auth import exceptions as google_auth

from shared.errors import EventLoggingError, SettingsError
from shared.process.fault_points import enable_fault_points
from shared.process.logs import configure_logging
from shared.process.settings import OperatorSettings, from_environment
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
    """What sys.stderr is at the time: while a bar is shown, one that writes above it."""

    def write(self, text: str, /) -> int:
        try:
            return sys.stderr.write(text)
        except OSError:  # nobody reads it, and that must not end the work
            return 0


_CODES: Final[dict[type[EventLoggingError], int]] = {
    SettingsError: WRONG_USAGE,
    UsageError: WRONG_USAGE,
    UnknownError: BAD_NEWS,
    OutputFailedError: OUTPUT_FAILED,
}
"""Every other error of ours is a dependency's."""

FLUSH_SECONDS: Final = 5.0
"""A command is over before the first regular export: what it measured leaves at its end or never."""

_NO_CREDENTIALS: Final = (
    "no Google credentials: run `gcloud auth application-default login`, or set SPANNER_EMULATOR_HOST and "
    "PUBSUB_EMULATOR_HOST"
)


def run_command(work: Work) -> NoReturn:
    """Run the work with connections and leave with its exit code.

    Cancelled by Ctrl-C or SIGTERM, the work finishes what it shields, and the exit code is INTERRUPTED.
    """
    settings: OperatorSettings | None = None
    try:
        settings = from_environment(OperatorSettings, os.environ)
        enable_fault_points(os.environ)
        # Never above INFO, whatever LOG_LEVEL says: the audit line must be written.
        level = "DEBUG" if settings.log_level == "DEBUG" else "INFO"
        project = settings.google_cloud_project
        stream = cast("TextIO", _CurrentStderr())
        configure_logging(process="nest-events", log_format="json", level=level, project=project, stream=stream)
        # On a terminal a library's warning is noise beside our own line about the same failure.
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
        code = _say(f"Google refused the credentials ({type(error).__name__}): log in anew", UNAVAILABLE)
    except Exception:  # noqa: BLE001 - Python's own exit code for it is 1, which means bad news here
        traceback.print_exc()
        code = _say("a fault of this command; please report it with the lines above", OUR_FAULT)
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


def failed(error: EventLoggingError, settings: OperatorSettings | None = None) -> int:
    """Say what failed in one line, with the settings by which it was looked for; the exit code."""
    text = str(error) if settings is None else explained(error, settings)
    return _say(text, _CODES.get(type(error), UNAVAILABLE))


def _output_failed(error: OutputFailedError) -> int:
    """Quietly where the reader of a pipe is gone, as `head` is once it has its lines."""
    # Python flushes stdout at its end, and would complain once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OUTPUT_FAILED if isinstance(error.__cause__, BrokenPipeError) else failed(error)


def _say(text: str, code: int) -> int:
    typer.echo(f"nest-events: {text}", err=True)
    return code

"""Starting: what the ingress and the worker have in common from the environment to their event loop."""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from shared.errors import EventLoggingError, SettingsError
from shared.process.ending import ignore_termination
from shared.process.fault_points import enable_fault_points
from shared.process.garbage_collection import tune_garbage_collection
from shared.process.logs import configure_logging, get_logger
from shared.process.settings import Settings, from_environment
from shared.telemetry.providers import Telemetry, open_telemetry

_log = get_logger()

SettingsT = TypeVar("SettingsT", bound=Settings)

Serve = Callable[[SettingsT, Telemetry | None], Awaitable[bool]]
"""Runs until SIGTERM or SIGINT. If the start fails, raises an EventLoggingError, or logs why and returns False."""


def run_process(process: str, settings_type: type[SettingsT], serve: Serve[SettingsT]) -> int:
    """Read the settings, set up logging and telemetry, and run `serve` in an event loop.

    `process` is its name in logs and telemetry. Returns the exit code: 0 after a clean stop, 1 after a failed start, 2
    for wrong settings, which are written to stderr.
    """
    try:
        settings = from_environment(settings_type, os.environ)
        enable_fault_points(os.environ)
        tune_garbage_collection()
        configure_logging(
            process=process,
            log_format=settings.log_format,
            level=settings.log_level,
            project=settings.google_cloud_project,
        )
        with open_telemetry(settings, process=process) as telemetry:
            started = anyio.run(_until_stopped, serve, settings, telemetry, backend_options={"use_uvloop": True})
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except EventLoggingError as error:
        _log.error("start_failed", reason=error.reason, error=str(error))
        return 1
    return 0 if started else 1


async def _until_stopped(serve: Serve[SettingsT], settings: SettingsT, telemetry: Telemetry | None) -> bool:
    try:
        return await serve(settings, telemetry)
    finally:
        # A further signal would kill the process before its telemetry is exported.
        ignore_termination()

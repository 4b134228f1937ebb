"""The worker as a process: settings, logging, signals, runtime."""

import os
import signal
import sys

import anyio

from shared.errors import EventLoggingError, SettingsError
from shared.process.fault_points import enable_fault_points
from shared.process.garbage_collection import tune_garbage_collection
from shared.process.logs import configure_logging, get_logger
from shared.process.settings import WorkerSettings, from_environment
from shared.process.signals import on_termination
from shared.telemetry.providers import Telemetry, open_telemetry
from worker.runtime import run

_log = get_logger()


def main() -> int:
    """Run until SIGTERM or SIGINT. Exit code: 0 after a clean end, 1 after a failed start, 2 for invalid settings."""
    try:
        settings = from_environment(WorkerSettings, os.environ)
        enable_fault_points(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    tune_garbage_collection()
    configure_logging(
        process="worker",
        log_format=settings.log_format,
        level=settings.log_level,
        project=settings.google_cloud_project,
    )
    try:
        with open_telemetry(settings, process="worker") as telemetry:
            anyio.run(_run, settings, telemetry, backend_options={"use_uvloop": True})
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except EventLoggingError as error:
        _log.error("start_failed", reason=error.reason, error=str(error))
        return 1
    return 0


async def _run(settings: WorkerSettings, telemetry: Telemetry | None) -> None:
    stopping = anyio.Event()

    def stop(number: signal.Signals) -> None:
        _log.info("draining", signal=number.name)
        stopping.set()

    # Entered before the start, so that a signal during start-up ends the process in the same orderly way.
    async with on_termination(stop):
        await run(settings, stopping, telemetry)

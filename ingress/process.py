"""The ingress as a process: reads the settings, sets up logging and telemetry, and serves."""

import os
import sys

import anyio

from ingress.app import create_app
from ingress.http.server import serve
from shared.errors import SettingsError
from shared.process.fault_points import enable_fault_points
from shared.process.garbage_collection import tune_garbage_collection
from shared.process.logs import configure_logging
from shared.process.settings import IngressSettings, from_environment
from shared.telemetry.providers import Telemetry, open_telemetry


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit code: 0 after a clean stop, 1 after a failure, 2 for wrong settings."""
    try:
        settings = from_environment(IngressSettings, os.environ)
        enable_fault_points(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    tune_garbage_collection()
    configure_logging(
        process="ingress",
        log_format=settings.log_format,
        level=settings.log_level,
        project=settings.google_cloud_project,
    )
    try:
        with open_telemetry(settings, process="ingress") as telemetry:
            started = anyio.run(_serve, settings, telemetry, backend_options={"use_uvloop": True})
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if started else 1


async def _serve(settings: IngressSettings, telemetry: Telemetry | None) -> bool:
    return await serve(create_app(settings, telemetry), settings)

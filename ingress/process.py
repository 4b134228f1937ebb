"""The ingress as a process."""

from ingress.app import create_app
from ingress.http.server import serve
from shared.process.settings import IngressSettings
from shared.starting import run_process
from shared.telemetry.providers import Telemetry


def main() -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code (`run_process`)."""
    return run_process("ingress", IngressSettings, _serve)


async def _serve(settings: IngressSettings, telemetry: Telemetry | None) -> bool:
    return await serve(create_app(settings, telemetry), settings)

"""The worker as a process."""

import signal

import anyio

from shared.process.logs import get_logger
from shared.process.settings import WorkerSettings
from shared.process.signals import on_termination
from shared.starting import run_process
from shared.telemetry.providers import Telemetry
from worker.runtime import run

_log = get_logger()


def main() -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code (`run_process`)."""
    return run_process("worker", WorkerSettings, _run)


async def _run(settings: WorkerSettings, telemetry: Telemetry | None) -> bool:
    stopping = anyio.Event()

    def stop(number: signal.Signals) -> None:
        _log.info("draining", signal=number.name)
        stopping.set()

    # Entered before the start, so that a signal during start-up ends the process in the same orderly way.
    async with on_termination(stop):
        await run(settings, stopping, telemetry)
    return True

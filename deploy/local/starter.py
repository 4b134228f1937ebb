"""Starts our own programs with this interpreter, and waits until each is ready."""

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

import anyio
import pyqwest

from deploy.local.errors import StartFailedError
from deploy.local.processes import ManagedProcess, Supervisor

READY_SECONDS: Final = 30.0
"""For one of our processes to be ready. Two seconds are usual, most of them imports."""

POLL_SECONDS: Final = 0.05

ATTEMPT_SECONDS: Final = 3.0
"""For one readiness answer, which itself takes 2 s at most."""

GRACE_SECONDS: Final = 8.0
"""Between SIGTERM and SIGKILL: ingress and worker are to drain within 7 s."""


class Starter:
    """Starts programs under a supervisor; each logs to NAME.log in `run_dir`."""

    def __init__(self, supervisor: Supervisor, run_dir: Path) -> None:
        self._supervisor = supervisor
        self._run_dir = run_dir
        self.started: dict[str, ManagedProcess] = {}
        """By name; of two with one name the later."""

    async def python(self, name: str, arguments: list[str], env: Mapping[str, str]) -> ManagedProcess:
        """Start `python ARGUMENTS`; returns at once, before the program is ready."""
        process = await self._supervisor.start(
            ManagedProcess(
                name=name,
                argv=[sys.executable, *arguments],
                env=env,
                log_path=self._run_dir / f"{name}.log",
                grace_seconds=GRACE_SECONDS,
            )
        )
        self.started[name] = process
        return process

    async def announced(self, name: str, arguments: list[str], env: Mapping[str, str]) -> dict[str, str]:
        """Start a program that announces its addresses; returns the first line of its output, which is JSON.

        Raises:
            StartFailedError: It ended or printed no line in time.
        """
        process = await self.python(name, arguments, env)
        log = self._run_dir / f"{name}.log"

        async def has_line() -> bool:
            return b"\n" in await anyio.Path(log).read_bytes()

        await self.until_ready(process, has_line)
        announcement: dict[str, str] = json.loads(log.read_text().splitlines()[0])
        return announcement

    async def until_ready(self, process: ManagedProcess, is_ready: Callable[[], Awaitable[bool]]) -> None:
        """Poll until the process is ready.

        Raises:
            StartFailedError: It ended or was not ready in time; with the end of its log.
        """
        with anyio.move_on_after(READY_SECONDS):
            while process.returncode is None:
                if await is_ready():
                    return
                await anyio.sleep(POLL_SECONDS)
        what = "did not become ready" if process.returncode is None else f"ended with {process.returncode}"
        raise StartFailedError(f"{process.name} {what}; {process.log_end()}")


async def answers_ok(url: str) -> bool:
    """Whether a GET of it is answered with 200."""
    try:
        with anyio.fail_after(ATTEMPT_SECONDS):
            response = await pyqwest.Client().get(url)
    except (OSError, pyqwest.ReadError, pyqwest.WriteError, pyqwest.RemoteProtocolError):  # TimeoutError included
        return False
    return response.status == HTTPStatus.OK


async def has_logged(log: Path, event: str, *, after: int = 0) -> bool:
    """Whether a JSON log has a line of this event beyond its first `after` bytes."""
    return f'"message":"{event}"'.encode() in (await anyio.Path(log).read_bytes())[after:]

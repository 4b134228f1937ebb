"""Child processes, each held by its handle in a process group of its own; none outlives us, however we end."""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio
from anyio.abc import Process

from deploy.local.errors import LocalStackError, PortInUseError, StartFailedError
from deploy.local.process_guard import Guard

GRACE_SECONDS: Final = 5.0
"""The default time for a process to end by itself after SIGTERM."""

KILL_SECONDS: Final = 1.0
"""For the kernel to end a process after SIGKILL. Only one stuck in the kernel needs more, and nothing helps that."""

EXIT_SECONDS: Final = 10.0
"""For a supervisor to end everything: about what a person waits after Ctrl-C before pressing it again."""

_POLL_SECONDS: Final = 0.02
"""Of a group only the leader is our child: whether the other members have ended can only be polled."""

_LOG_LINES: Final = 15
"""Of a process's log in an error message."""

_PORT_TRIES: Final = 100
"""Attempts at a port that no other process of ours has claimed. Two failures in a row are rare."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens, and which no other call returns while this process lives.

    The claim is a locked file; the kernel drops the lock when we end. gRPC servers make it necessary: they listen with
    SO_REUSEPORT, so two Spanner emulators on one port both start and get every other connection. A program that makes
    no claims can still take the port before it is used: be ready to try another.

    Raises:
        PortInUseError: No port was free.
    """
    claims = Path(tempfile.gettempdir()) / f"event-logging-ports-{os.getuid()}"
    claims.mkdir(mode=0o700, exist_ok=True)
    for _ in range(_PORT_TRIES):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        # Left open on purpose, for the life of this process.
        claim = os.open(claims / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
        else:
            return port
    raise PortInUseError("no free TCP port on 127.0.0.1")


@dataclass(slots=True, kw_only=True, eq=False)
class ManagedProcess:
    """A program in a session, and so a process group, of its own: Ctrl-C in the terminal reaches us, not it."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    """The whole environment; nothing is added."""

    log_path: Path | None = None
    """The file to which stdout and stderr are appended; None passes both through to our own."""

    grace_seconds: float = GRACE_SECONDS
    """Between SIGTERM and SIGKILL."""

    container: str | None = None
    """The Docker container that the program is a client of. Removed by name: the client may fail to end it."""

    process: Process | None = field(default=None, init=False)
    _guard: Guard | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """Also the id of its group and session."""
        return self._started.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative after a signal."""
        return self._started.returncode

    @property
    def _started(self) -> Process:
        if self.process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self.process

    async def start(self, guard: Guard) -> None:
        """Called by `Supervisor.start`.

        Raises:
            StartFailedError: There is no such program.
        """
        program = shutil.which(self.argv[0], path=self.env.get("PATH"))
        if program is None:
            raise StartFailedError(f"cannot start {self.name}: no program {self.argv[0]}")
        argv = [program, *self.argv[1:]]
        # Shielded, for milliseconds: a cancelled spawn would leave a process without a handle.
        with anyio.CancelScope(shield=True):
            if self.container is not None:
                guard.add_container(self.container)
            if self.log_path is None:
                self.process = await guard.spawn(argv, self.env, None)
            else:
                self.log_path.parent.mkdir(parents=True, exist_ok=True)
                with self.log_path.open("ab") as log:
                    self.process = await guard.spawn(argv, self.env, log.fileno())
            self._guard = guard

    def log_text(self) -> str:
        """Its whole log; empty without `log_path`."""
        return "" if self.log_path is None else self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_end(self) -> str:
        """For an error message: the path and the last lines of its log."""
        return "\n".join([f"the end of {self.log_path}:", *self.log_text().splitlines()[-_LOG_LINES:]])

    async def wait(self) -> int:
        """Wait until the program has ended; its return code."""
        return await self._started.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """Signal every process of the group; does nothing if none is left."""
        if self._has_members():
            with contextlib.suppress(ProcessLookupError, PermissionError):  # as below: it may have ended since
                os.killpg(self.pid, number)

    async def terminate(self, grace_seconds: float | None = None, *, kill_seconds: float = KILL_SECONDS) -> None:
        """Send SIGTERM to the group, then SIGKILL to what is left of it.

        Idempotent, and shielded from anyio's cancellation.

        Raises:
            LocalStackError: The kernel did not end it within `kill_seconds`.
        """
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(self.grace_seconds if grace_seconds is None else grace_seconds):
                self.send_signal(signal.SIGTERM)
                # A stopped process acts on SIGTERM only once it is continued.
                self.send_signal(signal.SIGCONT)
                await self._remove_container()
                await self._gone()
            self.send_signal(signal.SIGKILL)
            with anyio.move_on_after(kill_seconds):
                await self._gone()
            if self._has_members():
                raise LocalStackError(f"could not end {self.name}: process group {self.pid} is still there")
            if self._guard is not None:
                self._guard.remove_group(self.pid)

    async def _remove_container(self) -> None:
        if self.container is not None and self._guard is not None:
            # Not checked: usually it is gone already, because its client passed on SIGTERM.
            await anyio.run_process(["docker", "rm", "--force", self.container], env=self.env, check=False)
            self._guard.remove_container(self.container)

    async def _gone(self) -> None:
        await self.wait()
        while self._has_members():  # noqa: ASYNC110 -- the kernel sets no Event
            await anyio.sleep(_POLL_SECONDS)

    def _has_members(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            # PermissionError: macOS's answer for a group of zombies.
            return False
        if not Path("/proc/self/stat").exists():
            return True
        return any(_is_live_member(stat, self.pid) for stat in Path("/proc").glob("[0-9]*/stat"))


def _is_live_member(stat: Path, group: int) -> bool:
    """Zombies do not count: emulator_main becomes one in a container whose first process reaps no children."""
    try:
        state, _parent, its_group = stat.read_text().rpartition(")")[2].split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return False  # it ended meanwhile
    return int(its_group) == group and state not in "ZX"


class Supervisor:
    """Starts processes, and on exit ends all of them, last started first, within `EXIT_SECONDS`."""

    def __init__(self) -> None:
        self.processes: list[ManagedProcess] = []
        self._guard: Guard | None = None

    async def __aenter__(self) -> Self:
        self._guard = await Guard.start()
        return self

    async def start(self, process: ManagedProcess) -> ManagedProcess:
        """Start it and return it, running but not yet ready.

        Raises:
            StartFailedError: There is no such program.
        """
        if self._guard is None:
            raise RuntimeError("enter the supervisor first")
        await process.start(self._guard)
        self.processes.append(process)
        return process

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes.

        Raises:
            LocalStackError: The kernel did not end some of them; the message names each.
        """
        if self._guard is None:
            return
        stuck: list[str] = []
        with anyio.CancelScope(shield=True):
            # No anyio scope shields from asyncio's own cancellation. If that interrupts the loop, closing the guard
            # ends the processes that are left. The last second is for SIGKILL, and for the guard.
            try:
                deadline = anyio.current_time() + EXIT_SECONDS - KILL_SECONDS
                kill_seconds = KILL_SECONDS / 2 / max(1, len(self.processes))
                for process in reversed(self.processes):
                    left = max(0.0, deadline - anyio.current_time())
                    try:
                        await process.terminate(min(process.grace_seconds, left), kill_seconds=kill_seconds)
                    except LocalStackError as failure:
                        stuck.append(str(failure))
            finally:
                self._guard.close()
            with anyio.move_on_after(KILL_SECONDS / 2):
                await self._guard.wait()
        if stuck:
            raise LocalStackError("; ".join(stuck))

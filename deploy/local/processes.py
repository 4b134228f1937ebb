"""Child processes held by their own handles, none of which outlives us, however we end."""

import fcntl
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, STDOUT
from types import TracebackType
from typing import Final, Self

import anyio
from anyio.abc import Process

from deploy.local.errors import LocalStackError, PortInUseError, StartFailedError

GRACE_SECONDS: Final = 5.0
"""For a process to end by itself after SIGTERM. Uvicorn and the worker drain for less on an idle machine."""

KILL_SECONDS: Final = 1.0
"""For the kernel to end what got SIGKILL. Only a process stuck in the kernel needs more, and nothing helps that."""

EXIT_SECONDS: Final = 10.0
"""For a supervisor to end everything: about what a person waits after Ctrl-C before pressing it again."""

_POLL_SECONDS: Final = 0.02
"""A group's members other than its leader are not our children: their end can only be asked for."""

_PORT_TRIES: Final = 100
"""Ports offered by the OS that another of our processes holds already. Two in a row are rare."""

# The guard is a process of its own at the other end of a pipe that only we hold open for longer than an instant: end
# of file means that we are gone, also by SIGKILL, and it then ends whatever is still on its list. It is POSIX sh, so it
# starts in a millisecond and works on Linux and macOS alike. Linux's PR_SET_PDEATHSIG was not chosen: it is tied to
# the parent THREAD (a child forked in a worker thread dies with that thread), reaches the child only (not
# emulator_main below gateway_main), and needs code run between fork and exec of a threaded process.
# SIGTERM comes before SIGKILL since a Docker client passes on the former only.
_GUARD: Final = r"""
trap '' HUP INT TERM
groups= containers=
without() { kept=; for each in $2; do [ "$each" = "$1" ] || kept="$kept $each"; done; echo "$kept"; }
while read -r mark id; do
  case $mark in
    +) groups="$groups $id" ;;
    -) groups=$(without "$id" "$groups") ;;
    ++) containers="$containers $id" ;;
    --) containers=$(without "$id" "$containers") ;;
  esac
done
for id in $groups; do kill -s TERM -- "-$id"; done
for id in $containers; do docker rm --force "$id"; done
[ -z "$groups" ] || sleep 1
for id in $groups; do kill -s KILL -- "-$id"; done
"""

# Standard input is the pipe to the guard: the program puts itself on the list before it becomes the program (exec
# keeps the pid), so there is no instant in which it runs unguarded, and then lets go of the pipe.
_LAUNCH: Final = 'echo "+ $$" >&0 && exec "$@" </dev/null'


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that no other call of this gives away while we live.

    The claim is a locked file, and the kernel drops it when we end. It is needed because gRPC servers listen with
    SO_REUSEPORT: two Spanner emulators on one port both start and get every other connection. Anyone else can still
    take the port before it is used: be ready to try another.

    Raises:
        PortInUseError: No port could be had.
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
    """The whole environment, nothing is added."""

    log_path: Path | None = None
    """Where its output goes, appended; None passes it through to our own."""

    grace_seconds: float = GRACE_SECONDS

    container: str | None = None
    """The Docker container that the program is a client of: ended by this name, as the client may not manage to."""

    process: Process | None = field(default=None, init=False)
    _guard: "_Guard | None" = field(default=None, init=False)

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

    async def start(self, guard: "_Guard") -> None:
        """Called by `Supervisor.start`.

        Raises:
            StartFailedError: There is no such program.
        """
        program = shutil.which(self.argv[0], path=self.env.get("PATH"))
        if program is None:
            raise StartFailedError(f"cannot start {self.name}: no program {self.argv[0]}")
        command = ["/bin/sh", "-c", _LAUNCH, "sh", program, *self.argv[1:]]
        # Shielded, for milliseconds: a cancelled spawn would leave a process that nobody has a handle of.
        with anyio.CancelScope(shield=True):
            if self.container is not None:
                guard.note(f"++ {self.container}")
            if self.log_path is None:
                self.process = await guard.spawn(command, self.env, None)
            else:
                self.log_path.parent.mkdir(parents=True, exist_ok=True)
                with self.log_path.open("ab") as log:
                    self.process = await guard.spawn(command, self.env, log.fileno())
            self._guard = guard

    async def wait(self) -> int:
        return await self._started.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """To every process of the group. Nothing happens where none is left."""
        if self._has_members():
            os.killpg(self.pid, number)

    async def terminate(self, grace_seconds: float | None = None, *, kill_seconds: float = KILL_SECONDS) -> None:
        """SIGTERM to the group, then SIGKILL to what is left of it. Not interrupted by cancellation; harmless twice.

        Raises:
            LocalStackError: The kernel did not end it.
        """
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(self.grace_seconds if grace_seconds is None else grace_seconds):
                self.send_signal(signal.SIGTERM)
                # A stopped process would sit on its SIGTERM.
                self.send_signal(signal.SIGCONT)
                await self._remove_container()
                await self._gone()
            self.send_signal(signal.SIGKILL)
            with anyio.move_on_after(kill_seconds):
                await self._gone()
            if self._has_members():
                raise LocalStackError(f"could not end {self.name}: process group {self.pid} is still there")
            if self._guard is not None:
                self._guard.note(f"- {self.pid}")

    async def _remove_container(self) -> None:
        if self.container is not None and self._guard is not None:
            # Not checked: that it is gone already is the usual case, after its client passed on SIGTERM.
            await anyio.run_process(["docker", "rm", "--force", self.container], env=self.env, check=False)
            self._guard.note(f"-- {self.container}")

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
    """Zombies do not count: emulator_main becomes one in a container whose first process reaps nobody."""
    try:
        state, _parent, its_group = stat.read_text().rpartition(")")[2].split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return False  # it ended while we looked
    return int(its_group) == group and state not in "ZX"


class _Guard:
    """Our end of the pipe to the guard process."""

    def __init__(self, process: Process, pipe: int) -> None:
        self._process = process
        self._pipe = pipe

    @classmethod
    async def start(cls) -> Self:
        reading, writing = os.pipe()
        try:
            with anyio.CancelScope(shield=True):
                process = await anyio.open_process(
                    ["/bin/sh", "-c", _GUARD], stdin=reading, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        return cls(process, writing)

    async def spawn(self, command: Sequence[str], env: Mapping[str, str], output: int | None) -> Process:
        return await anyio.open_process(
            command,
            stdin=self._pipe,
            stdout=output,
            stderr=None if output is None else STDOUT,
            env=env,
            start_new_session=True,
        )

    def note(self, line: str) -> None:
        try:
            os.write(self._pipe, f"{line}\n".encode())
        except BrokenPipeError:
            # Somebody ended the guard. We still end everything ourselves, and must not fail at that because of this.
            logging.getLogger(__name__).warning("the process guard is gone")

    def close(self) -> None:
        """The guard sees end of file, ends what is still on its list (usually nothing), and ends."""
        os.close(self._pipe)

    async def wait(self) -> None:
        await self._process.wait()


class Supervisor:
    """Starts processes, and on exit ends all of them, last started first, within `EXIT_SECONDS`."""

    def __init__(self) -> None:
        self.processes: list[ManagedProcess] = []
        self._guard: _Guard | None = None

    async def __aenter__(self) -> Self:
        self._guard = await _Guard.start()
        return self

    async def start(self, process: ManagedProcess) -> ManagedProcess:
        if self._guard is None:
            raise RuntimeError("enter the supervisor first")
        await process.start(self._guard)
        self.processes.append(process)
        return process

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._guard is None:
            return
        stuck: list[str] = []
        with anyio.CancelScope(shield=True):
            # The guard is let go even where asyncio's own cancellation, which no anyio scope shields from, gets us
            # here: what we did not get to is then ended by it. The last second is for SIGKILL, and for the guard.
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

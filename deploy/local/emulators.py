"""The Spanner and Pub/Sub emulators: found running, or started from the Cloud CLI or Docker, and answering."""

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import grpc

from deploy.local.emulator_kinds import PUBSUB, SPANNER, EmulatorKind
from deploy.local.emulator_readiness import check_running, wait_until_ready
from deploy.local.errors import AbsentEmulator, MissingEmulatorError, PortInUseError
from deploy.local.processes import ManagedProcess, Supervisor, free_port

_DOCKER_INFO_SECONDS: Final = 5.0
"""For `docker info`. While Docker Desktop is stopped, its client waits."""

_STARTS: Final = 3
"""Attempts at starting an emulator, each on another port: the one before was taken meanwhile."""

CHANNEL_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),  # HTTP_PROXY is not for 127.0.0.1, whatever NO_PROXY says
    ("grpc.initial_reconnect_backoff_ms", 50),  # an emulator is up long before the default of a second is over
    ("grpc.max_reconnect_backoff_ms", 200),
)

_KINDS: Final = (SPANNER, PUBSUB)

_Build = Callable[[int], ManagedProcess]
"""Makes the process that is to listen on a port."""


@dataclass(frozen=True, slots=True)
class Emulators:
    """Where both answer, as host:port, and the processes that were started here (none, one or two)."""

    spanner_host: str
    pubsub_host: str
    processes: list[ManagedProcess]

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which Google's clients find both."""
        return {SPANNER.variable: self.spanner_host, PUBSUB.variable: self.pubsub_host}


def local_channel(host: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(host, options=CHANNEL_OPTIONS)


@asynccontextmanager
async def running_emulators(run_dir: Path, environ: Mapping[str, str] | None = None) -> AsyncIterator[Emulators]:
    """Both emulators, answering. Those started here log to `run_dir` and are ended on exit; others are left running.

    `environ` replaces `os.environ`: it says where emulators run already, and has the PATH on which programs are found.

    Raises:
        MissingEmulatorError: One of them can be neither found nor started; the message names all that is missing.
        PortInUseError: Every port that was tried was taken.
        StartFailedError: One did not start, or no emulator answers where a variable says that one runs.
    """
    environ = dict(os.environ if environ is None else environ)
    spanner_way, pubsub_way = await _ways(environ, run_dir)
    async with Supervisor() as supervisor:
        # Both are started before either is waited for: they come up at the same time.
        spanner = await _begin(SPANNER, spanner_way, supervisor)
        pubsub = await _begin(PUBSUB, pubsub_way, supervisor)
        hosts = await spanner.answering(), await pubsub.answering()
        # Not the supervisor's list, which also has those that found their port taken.
        yield Emulators(*hosts, [each.process for each in (spanner, pubsub) if each.process is not None])


async def _ways(environ: Mapping[str, str], run_dir: Path) -> list[str | _Build]:
    """For each emulator the host where it runs, or how to start it."""
    ways = {kind.name: environ.get(kind.variable) or _cloud_cli(kind, environ, run_dir) for kind in _KINDS}
    if not all(ways.values()) and await _docker_answers(environ):
        ways |= {kind.name: _docker(kind, environ, run_dir) for kind in _KINDS if not ways[kind.name]}
    found = [way for way in ways.values() if way is not None]
    if len(found) < len(ways):
        missing = [kind for kind in _KINDS if not ways[kind.name]]
        lacks_java = PUBSUB in missing and _program(PUBSUB, environ) is not None
        absent = [kind for kind in missing if kind is SPANNER or not lacks_java]
        raise MissingEmulatorError(
            [AbsentEmulator(kind.name, kind.component, kind.package, kind.variable) for kind in absent],
            lacks_java=lacks_java,
        )
    return found


def _program(kind: EmulatorKind, environ: Mapping[str, str]) -> Path | None:
    gcloud = shutil.which("gcloud", path=environ.get("PATH", ""))
    if gcloud is None:
        return None
    # On PATH is usually a link; the SDK's root is two levels above its target.
    program = Path(gcloud).resolve().parent.parent / kind.program
    return program if program.is_file() else None


def _cloud_cli(kind: EmulatorKind, environ: Mapping[str, str], run_dir: Path) -> _Build | None:
    program = _program(kind, environ)
    # The Pub/Sub emulator's start script looks for Java in the same two places.
    has_java = environ.get("JAVA_HOME") or shutil.which("java", path=environ.get("PATH", ""))
    if program is None or (kind is PUBSUB and not has_java):
        return None

    def build(port: int) -> ManagedProcess:
        if kind is SPANNER:
            # The REST port is not used here, but cannot be switched off.
            arguments = ["--hostname", "127.0.0.1", "--grpc_port", f"{port}", "--http_port", f"{free_port()}"]
        else:
            arguments = ["--host=127.0.0.1", f"--port={port}"]
        return ManagedProcess(
            name=kind.name, argv=[str(program), *arguments], env=environ, log_path=_fresh_log(kind, run_dir)
        )

    return build


def _docker(kind: EmulatorKind, environ: Mapping[str, str], run_dir: Path) -> _Build:
    def build(port: int) -> ManagedProcess:
        container = f"event-logging-{kind.component}-{uuid.uuid4().hex[:8]}"
        # --init: the container's first process would otherwise ignore the SIGTERM that the client passes on.
        options = ["--rm", "--init", "--name", container, "--publish", f"127.0.0.1:{port}:{kind.container_port}"]
        return ManagedProcess(
            name=kind.name,
            argv=["docker", "run", *options, kind.image, *kind.container_command],
            env=environ,
            log_path=_fresh_log(kind, run_dir),
            container=container,
        )

    return build


def _fresh_log(kind: EmulatorKind, run_dir: Path) -> Path:
    """The path of an emulator's log. Readiness reads that log, so the one of an earlier start is removed."""
    path = run_dir / f"{kind.component}.log"
    path.unlink(missing_ok=True)
    return path


async def _docker_answers(environ: Mapping[str, str]) -> bool:
    """Whether a Docker engine runs; the client alone starts nothing."""
    docker = shutil.which("docker", path=environ.get("PATH", ""))
    if docker is None:
        return False
    with anyio.move_on_after(_DOCKER_INFO_SECONDS):
        return (await anyio.run_process([docker, "info"], env=environ, check=False)).returncode == 0
    return False


@dataclass(slots=True)
class _Starting:
    kind: EmulatorKind
    host: str
    process: ManagedProcess | None
    """None if it was found running."""

    build: _Build | None
    supervisor: Supervisor

    async def answering(self) -> str:
        """Its host, once it answers; on another port if the chosen one was taken."""
        for _ in range(_STARTS - 1):
            try:
                await self._answer()
            except PortInUseError:
                if self.build is None or self.process is None:
                    raise
                await self.process.terminate()
                again = await _begin(self.kind, self.build, self.supervisor)
                self.host, self.process = again.host, again.process
            else:
                return self.host
        await self._answer()
        return self.host

    async def _answer(self) -> None:
        async with local_channel(self.host) as channel:
            if self.process is None:
                await check_running(self.kind, self.host, channel)
            else:
                await wait_until_ready(self.kind, self.host, channel, self.process)


async def _begin(kind: EmulatorKind, way: str | _Build, supervisor: Supervisor) -> _Starting:
    if isinstance(way, str):
        return _Starting(kind, way, None, None, supervisor)
    port = free_port()
    return _Starting(kind, f"127.0.0.1:{port}", await supervisor.start(way(port)), way, supervisor)

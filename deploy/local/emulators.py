"""The Spanner and Pub/Sub emulators: found running, or started from the Cloud CLI or Docker, and answering."""

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import grpc
from google.cloud.spanner_admin_instance_v1.types import ListInstancesRequest
from google.pubsub_v1.types import ListTopicsRequest

from deploy.local.errors import AbsentEmulator, MissingEmulatorError, PortInUseError, StartFailedError
from deploy.local.processes import ManagedProcess, Supervisor, free_port

_READY_SECONDS: Final = 30.0
"""For a started emulator to answer. About one is usual; a first start on a busy machine took ten."""

_PULL_SECONDS: Final = 600.0
"""As above where Docker may have to pull first: the image with the Pub/Sub emulator is above a gigabyte."""

_REACHABLE_SECONDS: Final = 5.0
"""For an emulator that should be running already."""

_ATTEMPT_SECONDS: Final = 0.5
"""For one call of many. Java's first one takes some 0.3 s on an idle machine."""

_DOCKER_INFO_SECONDS: Final = 5.0
"""A stopped Docker Desktop lets its client wait."""

_STARTS: Final = 3
"""Each on another port, where the one before was taken meanwhile."""

_LOG_LINES: Final = 15
_PORT_TAKEN: Final = ("address already in use", "port is already allocated")
"""What Go, Java and Docker say. Java then keeps running, without a port, so the exit code does not tell."""

CHANNEL_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),  # HTTP_PROXY is not for 127.0.0.1, whatever NO_PROXY says
    ("grpc.initial_reconnect_backoff_ms", 50),  # the default is a second, in which an emulator is long up
    ("grpc.max_reconnect_backoff_ms", 200),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What differs between the two emulators."""

    name: str
    variable: str
    program: str
    """Below the SDK's root."""

    image: str
    """The version that comes with the Cloud CLI this was written against (528.0.0)."""

    container_port: int
    container_command: Sequence[str]
    component: str
    package: str
    """Of apt, where the SDK came from there and has no component manager."""

    method: str
    request: bytes
    """Lists something: what answers that is not just listening."""


_SPANNER: Final = _Kind(
    name="Spanner emulator",
    variable="SPANNER_EMULATOR_HOST",
    program="bin/cloud_spanner_emulator/gateway_main",
    image="gcr.io/cloud-spanner-emulator/emulator:1.5.28",
    container_port=9010,
    container_command=(),
    component="cloud-spanner-emulator",
    package="google-cloud-cli-spanner-emulator",
    method="/google.spanner.admin.instance.v1.InstanceAdmin/ListInstances",
    request=ListInstancesRequest.serialize(ListInstancesRequest(parent="projects/readiness")),
)
_PUBSUB: Final = _Kind(
    name="Pub/Sub emulator",
    variable="PUBSUB_EMULATOR_HOST",
    program="platform/pubsub-emulator/bin/cloud-pubsub-emulator",
    image="gcr.io/google.com/cloudsdktool/google-cloud-cli:528.0.0-emulators",
    container_port=8085,
    container_command=("gcloud", "beta", "emulators", "pubsub", "start", "--host-port=0.0.0.0:8085", "--project=local"),
    component="pubsub-emulator",
    package="google-cloud-cli-pubsub-emulator",
    method="/google.pubsub.v1.Publisher/ListTopics",
    request=ListTopicsRequest.serialize(ListTopicsRequest(project="projects/readiness")),
)
_KINDS: Final = (_SPANNER, _PUBSUB)


@dataclass(frozen=True, slots=True)
class Emulators:
    """Where both answer, as host:port, and the processes that we started for it (none, one or two)."""

    spanner_host: str
    pubsub_host: str
    processes: list[ManagedProcess]

    @property
    def variables(self) -> dict[str, str]:
        """For the environment of a process that is to use them."""
        return {_SPANNER.variable: self.spanner_host, _PUBSUB.variable: self.pubsub_host}


def local_channel(host: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(host, options=CHANNEL_OPTIONS)


@asynccontextmanager
async def running_emulators(run_dir: Path, environ: Mapping[str, str] | None = None) -> AsyncIterator[Emulators]:
    """Both emulators, answering. What was started here is ended on exit; what was found running is left alone.

    Their logs go to `run_dir`. Ways are decided first, so that one message names all that is missing.

    Raises:
        MissingEmulatorError: There is no way to one of them.
        PortInUseError: All ports tried were taken.
        StartFailedError: One did not start, or the one that a variable names does not answer.
    """
    environ = dict(os.environ if environ is None else environ)
    spanner_way, pubsub_way = await _ways(environ, run_dir)
    async with Supervisor() as supervisor:
        # Both are started before either is waited for: they come up at the same time.
        spanner = await _begin(_SPANNER, spanner_way, supervisor)
        pubsub = await _begin(_PUBSUB, pubsub_way, supervisor)
        hosts = await spanner.answering(), await pubsub.answering()
        # Not the supervisor's list: it also has those that could not have their port.
        yield Emulators(*hosts, [each.process for each in (spanner, pubsub) if each.process is not None])


_Build = Callable[[int], ManagedProcess]
"""Makes the process that is to listen on a port."""


async def _ways(environ: Mapping[str, str], run_dir: Path) -> list[str | _Build]:
    """For each emulator the host where it runs, or how to start it."""
    ways = {kind.name: environ.get(kind.variable) or _cloud_cli(kind, environ, run_dir) for kind in _KINDS}
    if not all(ways.values()) and await _docker_answers(environ):
        ways |= {kind.name: _docker(kind, environ, run_dir) for kind in _KINDS if not ways[kind.name]}
    found = [way for way in ways.values() if way is not None]
    if len(found) < len(ways):
        missing = [kind for kind in _KINDS if not ways[kind.name]]
        lacks_java = _PUBSUB in missing and _program(_PUBSUB, environ) is not None
        absent = [kind for kind in missing if kind is _SPANNER or not lacks_java]
        raise MissingEmulatorError(
            [AbsentEmulator(kind.name, kind.component, kind.package, kind.variable) for kind in absent],
            lacks_java=lacks_java,
        )
    return found


def _program(kind: _Kind, environ: Mapping[str, str]) -> Path | None:
    gcloud = shutil.which("gcloud", path=environ.get("PATH", ""))
    if gcloud is None:
        return None
    # On PATH is a link as a rule; the SDK's root is two above what it leads to.
    program = Path(gcloud).resolve().parent.parent / kind.program
    return program if program.is_file() else None


def _cloud_cli(kind: _Kind, environ: Mapping[str, str], run_dir: Path) -> _Build | None:
    program = _program(kind, environ)
    # Its start script looks for Java in the same two ways.
    has_java = environ.get("JAVA_HOME") or shutil.which("java", path=environ.get("PATH", ""))
    if program is None or (kind is _PUBSUB and not has_java):
        return None

    def build(port: int) -> ManagedProcess:
        if kind is _SPANNER:
            # The REST port is of no use to us, and cannot be switched off.
            arguments = ["--hostname", "127.0.0.1", "--grpc_port", f"{port}", "--http_port", f"{free_port()}"]
        else:
            arguments = ["--host=127.0.0.1", f"--port={port}"]
        return ManagedProcess(
            name=kind.name, argv=[str(program), *arguments], env=environ, log_path=_fresh_log(kind, run_dir)
        )

    return build


def _docker(kind: _Kind, environ: Mapping[str, str], run_dir: Path) -> _Build:
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


def _fresh_log(kind: _Kind, run_dir: Path) -> Path:
    """A log of an earlier start would be read as one of this."""
    path = run_dir / f"{kind.component}.log"
    path.unlink(missing_ok=True)
    return path


async def _docker_answers(environ: Mapping[str, str]) -> bool:
    """Whether there is an engine: the client alone starts nothing."""
    docker = shutil.which("docker", path=environ.get("PATH", ""))
    if docker is None:
        return False
    with anyio.move_on_after(_DOCKER_INFO_SECONDS):
        return (await anyio.run_process([docker, "info"], env=environ, check=False)).returncode == 0
    return False


@dataclass(slots=True)
class _Starting:
    kind: _Kind
    host: str
    process: ManagedProcess | None
    """None where it was found running."""

    build: _Build | None
    supervisor: Supervisor

    async def answering(self) -> str:
        """Its host, once it answers; on another port where the chosen one was taken."""
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
            # Without (de)serializers it takes and gives bytes.
            call = channel.unary_unary(self.kind.method)
            if self.process is not None:
                return await self._answer_soon(call, self.process)
            try:
                await call(self.kind.request, timeout=_REACHABLE_SECONDS)
            except grpc.aio.AioRpcError as error:
                raise StartFailedError(
                    f"{self.kind.variable} is {self.host}, but no {self.kind.name} answers there "
                    f"({error.code().name}): start it, or unset the variable to have one started"
                ) from error

    async def _answer_soon(self, call: Any, process: ManagedProcess) -> None:
        seconds = _READY_SECONDS if process.container is None else _PULL_SECONDS
        deadline = anyio.current_time() + seconds
        while anyio.current_time() < deadline:
            try:
                # Waits for the connection itself. Short, to see in between whether the process is still there.
                await call(self.kind.request, timeout=_ATTEMPT_SECONDS, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() not in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}:
                    raise StartFailedError(f"the {self.kind.name} answers {error.code().name}") from error
                _raise_if_failed(process, self.host)
            else:
                # The answer may have come from whoever has the port instead.
                return _raise_if_failed(process, self.host)
        raise StartFailedError(f"the {self.kind.name} did not answer in {seconds:g} s{_tail(process)}")


async def _begin(kind: _Kind, way: str | _Build, supervisor: Supervisor) -> _Starting:
    if isinstance(way, str):
        return _Starting(kind, way, None, None, supervisor)
    port = free_port()
    return _Starting(kind, f"127.0.0.1:{port}", await supervisor.start(way(port)), way, supervisor)


def _raise_if_failed(process: ManagedProcess, host: str) -> None:
    log = _read_log(process).lower()
    if any(words in log for words in _PORT_TAKEN):
        raise PortInUseError(f"the {process.name} could not have {host}: the port was taken meanwhile{_tail(process)}")
    if process.returncode is not None:
        raise StartFailedError(f"the {process.name} ended with {process.returncode} while starting{_tail(process)}")


def _read_log(process: ManagedProcess) -> str:
    return "" if process.log_path is None else process.log_path.read_text(encoding="utf-8", errors="replace")


def _tail(process: ManagedProcess) -> str:
    lines = _read_log(process).splitlines()[-_LOG_LINES:]
    return "\n".join(["; the end of its log, " + str(process.log_path), *lines])

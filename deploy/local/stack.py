"""The whole stack as processes: emulators, what is provisioned on them, the stand-in for Statsig, ingress, workers."""

import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import anyio
import pyqwest

from deploy.local.emulators import Emulators, running_emulators
from deploy.local.errors import PortInUseError, StartFailedError
from deploy.local.processes import ManagedProcess, Supervisor, free_port
from deploy.local.provision import StackNames, provisioner

READY_SECONDS: Final = 30.0
"""For one of our processes to be ready. Two seconds are usual, most of them imports."""

POLL_SECONDS: Final = 0.05

ATTEMPT_SECONDS: Final = 3.0
"""For one readiness answer, which itself takes 2 s at most."""

LOCAL_SECRET: Final = "secret-local-stack"  # noqa: S105 - the SDK wants a key of this form; the stand-in takes any
LOCAL_TIER: Final = "development"

OPERATORS_ENVIRONMENT: Final = "environment"
"""A file of the run's folder, for a shell to source: the settings with which `nest-events` finds this stack."""

REPOSITORY: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    ingress_port: int = 0
    """0 takes any free one."""

    workers: int = 1
    log_level: str = "INFO"
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables for ingress and workers on top of what the stack decides."""

    settings_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """As above for one program only: `ingress` or `worker`."""

    arguments_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What the interpreter is started with in place of `-m ingress` or `-m worker`."""

    def settings_for(self, program: str) -> dict[str, str]:
        return {**self.settings, **self.settings_of.get(program, {})}

    def arguments_for(self, program: str) -> list[str]:
        return list(self.arguments_of.get(program, ("-m", program)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running stack."""

    ingress_url: str
    statsig_url: str | None
    """The stand-in's page and control; None where STATSIG_API_URL names somebody else."""

    statsig_log: Path | None
    names: StackNames
    emulators: Emulators
    run_dir: Path
    """Where each process logs, as NAME.log."""

    processes: dict[str, ManagedProcess]
    starter: "Starter"

    async def start_again(self, name: str, settings: Mapping[str, str] | None = None) -> ManagedProcess:
        """Start ingress or a worker that has ended, as it was but for these settings; returns once it is ready."""
        before = self.processes[name]
        marker = len(await anyio.Path(self.run_dir / f"{name}.log").read_bytes())
        self.processes[name] = process = await self.starter.python(
            name, list(before.argv[1:]), {**before.env, **(settings or {})}
        )
        if name == "ingress":
            await self.starter.until_ready(process, partial(_answers, f"{self.ingress_url}/ready"))
        else:
            await self.starter.until_ready(
                process, partial(_has_logged, self.run_dir / f"{name}.log", "worker_started", after=marker)
            )
        return process

    def as_json(self) -> str:
        """For programs, in one line."""
        return json.dumps(
            {
                "ingress_url": self.ingress_url,
                "statsig_url": self.statsig_url,
                "statsig_log": None if self.statsig_log is None else str(self.statsig_log),
                "project": self.names.project,
                "spanner_instance": self.names.spanner_instance,
                "spanner_database": self.names.spanner_database,
                "spanner_emulator_host": self.emulators.spanner_host,
                "pubsub_emulator_host": self.emulators.pubsub_host,
                "forward_topic": self.names.forward_topic,
                "forward_subscription": self.names.forward_subscription,
                "dead_letter_topic": self.names.dead_letter_topic,
                "dead_letter_subscription": self.names.dead_letter_subscription,
                "run_dir": str(self.run_dir),
                "pids": {name: process.pid for name, process in self.processes.items()},
            }
        )


@asynccontextmanager
async def running_stack(
    run_dir: Path, options: StackOptions, *, names: StackNames | None = None, emulators: Emulators | None = None
) -> AsyncIterator[Stack]:
    """Start everything and yield it once all is ready; end everything, within 10 s, whatever happens.

    Given emulators are used and left running.

    Raises:
        LocalStackError: what is missing, taken or broken, in words for the person at the terminal.
    """
    names = names or StackNames.default()
    async with _emulators(run_dir, emulators) as running, Supervisor() as supervisor:
        async with provisioner(running) as admin:
            await admin.provision(names)
        start = Starter(supervisor, run_dir)
        processes = {process.name.lower().replace("/", "").replace(" ", "-"): process for process in running.processes}
        common = {
            **_inherited_environment(),
            **names.variables,
            **running.variables,
            "LOG_FORMAT": "json",
            "LOG_LEVEL": options.log_level,
        }

        statsig_url, statsig_log = None, None
        api_url = os.environ.get("STATSIG_API_URL")
        if not api_url:
            statsig_log = run_dir / "statsig-events.jsonl"
            listening = await start.announced(
                "statsig-stand-in", ["-m", "deploy.local.statsig_stand_in", "--log", str(statsig_log)], common
            )
            statsig_url, api_url = listening["url"], listening["api_url"]
            processes["statsig-stand-in"] = start.last

        port = options.ingress_port or free_port()
        _require_free(port)
        ingress_url = f"http://127.0.0.1:{port}"
        ingress = {**common, "HOST": "127.0.0.1", "PORT": str(port), **options.settings_for("ingress")}
        processes["ingress"] = await start.python("ingress", options.arguments_for("ingress"), ingress)
        worker = {
            **common,
            "STATSIG_API_URL": api_url,
            "STATSIG_SERVER_SECRET": os.environ.get("STATSIG_SERVER_SECRET", LOCAL_SECRET),
            "STATSIG_ENVIRONMENT": os.environ.get("STATSIG_ENVIRONMENT", LOCAL_TIER),
            **options.settings_for("worker"),
        }
        for number in range(1, options.workers + 1):
            name = f"worker-{number}"
            processes[name] = await start.python(name, options.arguments_for("worker"), worker)

        await start.until_ready(processes["ingress"], lambda: _answers(f"{ingress_url}/ready"))
        for number in range(1, options.workers + 1):
            log = run_dir / f"worker-{number}.log"
            await start.until_ready(processes[f"worker-{number}"], partial(_has_logged, log, "worker_started"))
        operators = {
            **names.variables,
            **running.variables,
            "STATSIG_API_URL": api_url,
            "STATSIG_SERVER_SECRET": worker["STATSIG_SERVER_SECRET"],
            "STATSIG_ENVIRONMENT": worker["STATSIG_ENVIRONMENT"],
            "INGRESS_URL": ingress_url,
        }
        (run_dir / OPERATORS_ENVIRONMENT).write_text("".join(f"export {k}={v}\n" for k, v in operators.items()))
        yield Stack(
            ingress_url=ingress_url,
            statsig_url=statsig_url,
            statsig_log=statsig_log,
            names=names,
            emulators=running,
            run_dir=run_dir,
            processes=processes,
            starter=start,
        )


class Starter:
    """Starts our own programs with this interpreter and waits until they are ready."""

    def __init__(self, supervisor: Supervisor, run_dir: Path) -> None:
        self._supervisor = supervisor
        self._run_dir = run_dir
        self.last: ManagedProcess

    async def python(self, name: str, arguments: list[str], env: Mapping[str, str]) -> ManagedProcess:
        self.last = await self._supervisor.start(
            # The drain of ingress and worker takes 7 s at most.
            ManagedProcess(
                name=name,
                argv=[sys.executable, *arguments],
                env=env,
                log_path=self._run_dir / f"{name}.log",
                grace_seconds=8.0,
            )
        )
        return self.last

    async def announced(self, name: str, arguments: list[str], env: Mapping[str, str]) -> dict[str, str]:
        """What the program says of itself in its first line, which is JSON."""
        process = await self.python(name, arguments, env)
        log = self._run_dir / f"{name}.log"

        async def has_line() -> bool:
            return b"\n" in await anyio.Path(log).read_bytes()

        await self.until_ready(process, has_line)
        announcement: dict[str, str] = json.loads(log.read_text().splitlines()[0])
        return announcement

    async def until_ready(self, process: ManagedProcess, is_ready: Callable[[], Awaitable[bool]]) -> None:
        with anyio.move_on_after(READY_SECONDS):
            while process.returncode is None:
                if await is_ready():
                    return
                await anyio.sleep(POLL_SECONDS)
        log = self._run_dir / f"{process.name}.log"
        last = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
        what = "did not become ready" if process.returncode is None else f"ended with {process.returncode}"
        raise StartFailedError(f"{process.name} {what}; the end of {log}:\n{last}")


@asynccontextmanager
async def _emulators(run_dir: Path, given: Emulators | None) -> AsyncIterator[Emulators]:
    if given is not None:
        yield given
        return
    async with running_emulators(run_dir) as started:
        yield started


def _inherited_environment() -> dict[str, str]:
    # PYTHONPATH: the programs are found from any folder. The rest of our environment is theirs.
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUseError(
                f"port {port} is in use: end what listens there, or choose another with --ingress-port "
                f"(make run PORT=8081)"
            ) from error


async def _answers(url: str) -> bool:
    try:
        with anyio.fail_after(ATTEMPT_SECONDS):
            response = await pyqwest.Client().get(url)
    except (OSError, pyqwest.ReadError, pyqwest.WriteError, pyqwest.RemoteProtocolError):  # TimeoutError included
        return False
    return response.status == HTTPStatus.OK


async def _has_logged(log: Path, event: str, *, after: int = 0) -> bool:
    return f'"message":"{event}"'.encode() in (await anyio.Path(log).read_bytes())[after:]

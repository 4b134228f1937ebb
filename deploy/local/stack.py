"""The whole stack as processes: emulators, what is provisioned on them, the stand-in for Statsig, ingress, workers."""

import json
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from deploy.local.emulators import Emulators, running_emulators
from deploy.local.errors import PortInUseError
from deploy.local.processes import ManagedProcess, Supervisor, free_port
from deploy.local.provision import StackNames, provisioner
from deploy.local.starter import Starter, answers_ok, has_logged

__all__ = [
    "LOCAL_SECRET",
    "LOCAL_TIER",
    "OPERATORS_ENVIRONMENT",
    "REPOSITORY",
    "Stack",
    "StackOptions",
    "Starter",
    "running_stack",
]

LOCAL_SECRET: Final = "secret-local-stack"  # noqa: S105 - the SDK wants a key of this form; the stand-in takes any
LOCAL_TIER: Final = "development"

OPERATORS_ENVIRONMENT: Final = "environment"
"""A file in the run's folder, for a shell to source: the settings with which `nest-events` finds this stack."""

REPOSITORY: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    ingress_port: int = 0
    """0 takes any free port."""

    workers: int = 1
    log_level: str = "INFO"
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of ingress and workers; they override the stack's own."""

    settings_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The same for one program, `ingress` or `worker`; they override `settings`."""

    arguments_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The interpreter's arguments for a program, in place of `-m ingress` or `-m worker`."""

    def settings_for(self, program: str) -> dict[str, str]:
        return {**self.settings, **self.settings_of.get(program, {})}

    def arguments_for(self, program: str) -> list[str]:
        return list(self.arguments_of.get(program, ("-m", program)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running stack."""

    ingress_url: str
    statsig_url: str | None
    """The stand-in's page and control; None if STATSIG_API_URL names a real Statsig."""

    statsig_log: Path | None
    """The stand-in's log of accepted events; None as above."""

    names: StackNames
    emulators: Emulators
    run_dir: Path
    """The folder of all logs. A program of ours logs to NAME.log, by its name in `processes`."""

    processes: dict[str, ManagedProcess]
    starter: Starter

    async def start_again(self, name: str, settings: Mapping[str, str] | None = None) -> ManagedProcess:
        """Start an ingress or worker that has ended, with these settings changed; returns once it is ready.

        Raises:
            StartFailedError: It ended again or was not ready in time.
        """
        before = self.processes[name]
        log = self.run_dir / f"{name}.log"
        logged = len(await anyio.Path(log).read_bytes())
        self.processes[name] = process = await self.starter.python(
            name, list(before.argv[1:]), {**before.env, **(settings or {})}
        )
        if name == "ingress":
            await self.starter.until_ready(process, partial(answers_ok, f"{self.ingress_url}/ready"))
        else:
            await self.starter.until_ready(process, partial(has_logged, log, "worker_started", after=logged))
        return process

    def as_json(self) -> str:
        """One line for programs: addresses, names and pids."""
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
    """Start everything and yield it once all is ready; on exit end everything that was started, whatever happens.

    Ending takes up to `EXIT_SECONDS` of processes.py for our programs, and as long again for the emulators. Emulators
    that are given are used and left running.

    Raises:
        LocalStackError: What is missing, taken or broken, in words for the person at the terminal.
    """
    names = names or StackNames.default()
    async with _emulators(run_dir, emulators) as running, Supervisor() as supervisor:
        async with provisioner(running) as admin:
            await admin.provision(names)
        yield await _start_programs(Starter(supervisor, run_dir), run_dir, options, names, running)


@asynccontextmanager
async def _emulators(run_dir: Path, given: Emulators | None) -> AsyncIterator[Emulators]:
    if given is not None:
        yield given
        return
    async with running_emulators(run_dir) as started:
        yield started


async def _start_programs(
    starter: Starter, run_dir: Path, options: StackOptions, names: StackNames, emulators: Emulators
) -> Stack:
    common = _common_environment(options, names, emulators)
    statsig = await _statsig(starter, run_dir, common)
    ingress_url = await _start_ingress(starter, options, common)
    worker = {
        **common,
        "STATSIG_API_URL": statsig.api_url,
        "STATSIG_SERVER_SECRET": os.environ.get("STATSIG_SERVER_SECRET", LOCAL_SECRET),
        "STATSIG_ENVIRONMENT": os.environ.get("STATSIG_ENVIRONMENT", LOCAL_TIER),
        **options.settings_for("worker"),
    }
    workers = [
        await starter.python(f"worker-{number}", options.arguments_for("worker"), worker)
        for number in range(1, options.workers + 1)
    ]
    # Ingress and workers were all started before any is waited for: they come up at the same time.
    await starter.until_ready(starter.started["ingress"], partial(answers_ok, f"{ingress_url}/ready"))
    for process in workers:
        await starter.until_ready(process, partial(has_logged, run_dir / f"{process.name}.log", "worker_started"))
    stack = Stack(
        ingress_url=ingress_url,
        statsig_url=statsig.url,
        statsig_log=statsig.log,
        names=names,
        emulators=emulators,
        run_dir=run_dir,
        processes={_short_name(each): each for each in emulators.processes} | starter.started,
        starter=starter,
    )
    _write_operators_environment(
        stack,
        {
            "STATSIG_API_URL": statsig.api_url,
            "STATSIG_SERVER_SECRET": worker["STATSIG_SERVER_SECRET"],
            "STATSIG_ENVIRONMENT": worker["STATSIG_ENVIRONMENT"],
        },
    )
    return stack


def _common_environment(options: StackOptions, names: StackNames, emulators: Emulators) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),  # our programs are found from any folder
        **names.variables,
        **emulators.variables,
        "LOG_FORMAT": "json",
        "LOG_LEVEL": options.log_level,
    }


def _write_operators_environment(stack: Stack, statsig: Mapping[str, str]) -> None:
    settings = {**stack.names.variables, **stack.emulators.variables, **statsig, "INGRESS_URL": stack.ingress_url}
    (stack.run_dir / OPERATORS_ENVIRONMENT).write_text("".join(f"export {k}={v}\n" for k, v in settings.items()))


@dataclass(frozen=True, slots=True)
class _Statsig:
    api_url: str
    url: str | None = None
    log: Path | None = None


async def _statsig(starter: Starter, run_dir: Path, common: Mapping[str, str]) -> _Statsig:
    """The Statsig that STATSIG_API_URL names, or else a stand-in started here."""
    if api_url := os.environ.get("STATSIG_API_URL"):
        return _Statsig(api_url)
    log = run_dir / "statsig-events.jsonl"
    announced = await starter.announced(
        "statsig-stand-in", ["-m", "deploy.local.statsig_stand_in", "--log", str(log)], common
    )
    return _Statsig(announced["api_url"], announced["url"], log)


async def _start_ingress(starter: Starter, options: StackOptions, common: Mapping[str, str]) -> str:
    port = options.ingress_port or free_port()
    _require_free(port)
    settings = {**common, "HOST": "127.0.0.1", "PORT": str(port), **options.settings_for("ingress")}
    await starter.python("ingress", options.arguments_for("ingress"), settings)
    return f"http://127.0.0.1:{port}"


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUseError(
                f"port {port} is in use: stop the program that listens there, or choose another port with "
                "--ingress-port (make run PORT=8081)"
            ) from error


def _short_name(emulator: ManagedProcess) -> str:
    return emulator.name.lower().replace("/", "").replace(" ", "-")

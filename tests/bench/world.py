"""The surroundings of a measure: its own database and topics, and the processes that it starts."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from deploy.local.emulators import Emulators, local_channel
from deploy.local.processes import ManagedProcess, Supervisor, free_port
from deploy.local.provision import StackNames, provisioner
from deploy.local.stack import LOCAL_SECRET, LOCAL_TIER, REPOSITORY, Starter
from tests.bench.ways import Way

_NOT_INHERITED: Final = ("OTEL_", "STATSIG_", "SPANNER_", "PUBSUB_", "FORWARD_", "DEAD_LETTER_", "LOG_")
"""Beginnings of the shell's variables that would change what is measured."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves the RPC."""

    way: str
    url: str
    process: ManagedProcess


@dataclass(frozen=True, slots=True)
class StandIn:
    """The process that stands for Statsig."""

    url: str
    api_url: str
    log: Path

    @property
    def settings(self) -> dict[str, str]:
        """Settings of a process that sends to it."""
        return {
            "STATSIG_API_URL": self.api_url,
            "STATSIG_SERVER_SECRET": LOCAL_SECRET,
            "STATSIG_ENVIRONMENT": LOCAL_TIER,
        }


@dataclass(slots=True)
class World:
    """Created by `open_world`."""

    names: StackNames
    emulators: Emulators
    run_dir: Path
    starter: Starter
    _started: int = field(default=0, init=False)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process of this measure."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        return {**inherited, **self.names.variables, **self.emulators.variables, "PYTHONPATH": str(REPOSITORY)}

    async def serve(
        self,
        way: Way,
        settings: Mapping[str, str] | None = None,
        *,
        name: str | None = None,
        stand_in: StandIn | None = None,
        keeps_log: bool = True,
    ) -> Server:
        """Start a server on a free port; returns once it accepts connections. It writes a log even if that is not kept.

        Raises:
            LocalStackError: it did not start.
        """
        port = free_port()
        own = {"HOST": "127.0.0.1", "PORT": str(port), **(settings or {}), **(stand_in.settings if stand_in else {})}
        process = (await self.launch(way, own, keeps_log=keeps_log))[0]
        await self.starter.until_ready(process, partial(accepts, port))
        return Server(name or way.name, f"http://127.0.0.1:{port}", process)

    async def play_statsig(self) -> StandIn:
        log = self.run_dir / f"{self._log_name('statsig')}.jsonl"
        said = await self.starter.announced(
            self._log_name("stand-in"), ["-m", "deploy.local.statsig_stand_in", "--log", str(log)], self.environment
        )
        return StandIn(said["url"], said["api_url"], log)

    async def launch(
        self, way: Way, settings: Mapping[str, str], *, keeps_log: bool = True
    ) -> tuple[ManagedProcess, Path]:
        """Start a program without waiting for it. Returns the process and the path of its log."""
        name = self._log_name(way.name)
        log = self.run_dir / f"{name}.log"
        if not keeps_log:
            log.symlink_to(os.devnull)
        env = {**self.environment, **way.settings, **settings}
        return await self.starter.python(name, way.arguments, env), log

    def _log_name(self, name: str) -> str:
        self._started += 1
        return f"{self._started:02}-{name.replace(' ', '-').replace('%', '')}"


@asynccontextmanager
async def open_world(
    emulators: Emulators, run_dir: Path, *, keeps_messages: bool, names: StackNames | None = None
) -> AsyncIterator[World]:
    """Provision, and delete everything in the end, so that a measure's rows do not slow the next one.

    With `keeps_messages` false the forward topic has no subscription, and the emulator drops what is published. A
    million kept messages, which no worker takes, would slow it and the last measures.
    """
    mine = names or StackNames.unique("bench")
    await anyio.Path(run_dir).mkdir(parents=True, exist_ok=True)
    async with provisioner(emulators) as admin:
        await admin.provision(mine)
        if not keeps_messages:
            await _drop_subscription(emulators, mine)
        try:
            async with Supervisor() as supervisor:
                yield World(mine, emulators, run_dir, Starter(supervisor, run_dir))
        finally:
            with anyio.CancelScope(shield=True):
                await admin.delete_topics(mine)
                if names is None:
                    await admin.delete_instance(mine)


async def accepts(port: int) -> bool:
    """Whether a process listens there."""
    try:
        await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True


async def _drop_subscription(emulators: Emulators, names: StackNames) -> None:
    async with local_channel(emulators.pubsub_host) as channel:
        client = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        await client.delete_subscription(subscription=names.subscription_path(names.forward_subscription))

"""The double as a process of its own, for tests of real processes."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.local.emulators import Emulators, local_channel
from deploy.local.processes import Supervisor
from deploy.local.stack import REPOSITORY, Starter
from tests.support.emulators.pubsub_manners.double import COUNTS_METHOD
from tests.support.emulators.pubsub_manners.manners import Counts, Manners


@dataclass(frozen=True, slots=True)
class DoubleProcess:
    address: str
    """The value for PUBSUB_EMULATOR_HOST."""

    async def counts(self) -> Counts:
        async with local_channel(self.address) as channel:
            return Counts.from_json((await channel.unary_unary(COUNTS_METHOD)(b"")).decode())


@asynccontextmanager
async def double_process(upstream: str, manners: Manners, run_dir: Path) -> AsyncIterator[DoubleProcess]:
    """Runs it in front of the emulator at `upstream`. It logs to pubsub-manners.log in `run_dir`, and its counts last.

    Raises:
        StartFailedError: it did not start.
    """
    async with Supervisor() as supervisor:
        announced = await Starter(supervisor, run_dir).announced(
            "pubsub-manners",
            ["-m", "tests.support.emulators.pubsub_manners", "--upstream", upstream, "--manners", manners.as_json()],
            {**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        yield DoubleProcess(announced["address"])


@asynccontextmanager
async def with_manners(emulators: Emulators, manners: Manners | None, run_dir: Path) -> AsyncIterator[Emulators]:
    """The same emulators, with Pub/Sub behind a process of the double; unchanged where `manners` is None."""
    if manners is None:
        yield emulators
        return
    async with double_process(emulators.pubsub_host, manners, run_dir) as double:
        yield replace(emulators, pubsub_host=double.address)

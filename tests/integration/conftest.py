"""Fixtures of the operators' commands and of the stand-in for Statsig."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.statsig_stand_in import StandIn, running_stand_in
from tests.support.fixtures import seeded
from tests.support.operators.console import RunningConsole, running_console

__all__ = ["console", "seeded", "stand_in"]


@pytest.fixture
async def console(environment: dict[str, str]) -> AsyncIterator[RunningConsole]:
    async with running_console(environment) as running:
        yield running


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[StandIn]:
    async with running_stand_in(tmp_path / "events.jsonl") as running:
        yield running

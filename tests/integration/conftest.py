"""What tests of the operators' commands, and of the stand-in for Statsig, use."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.statsig_stand_in import StandIn, running_stand_in
from tests.support.emulators.seeded_dead_letters import SeededDeadLetters
from tests.support.emulators.seeded_dead_letters import graveyard as opened


@pytest.fixture
async def graveyard(environment: dict[str, str]) -> AsyncIterator[SeededDeadLetters]:
    async with opened(environment) as found:
        yield found


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[StandIn]:
    async with running_stand_in(tmp_path / "events.jsonl") as running:
        yield running

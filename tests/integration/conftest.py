"""Fixtures of the operators' commands and of the stand-in for Statsig."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.statsig_stand_in import StandIn, running_stand_in
from tests.support.fixtures import seeded

__all__ = ["seeded", "stand_in"]


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[StandIn]:
    async with running_stand_in(tmp_path / "events.jsonl") as running:
        yield running

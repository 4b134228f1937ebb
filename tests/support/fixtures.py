"""Fixtures that the conftests of several folders import: the root conftest would load their clients for every test."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.local.emulators import Emulators
from tests.support.emulators.provisioned import provisioned
from tests.support.emulators.seeded_events import SeededEvents, seeded_events
from tests.support.wire.ingress import Store, open_store


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_environment(emulators: Emulators) -> AsyncIterator[dict[str, str]]:
    """`environment`, shared by the tests of a module."""
    async with provisioned(emulators, "m") as names:
        yield names.variables | emulators.variables


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(module_environment: dict[str, str]) -> AsyncIterator[Store]:
    async with open_store(module_environment) as opened:
        yield opened


@pytest.fixture
async def seeded(environment: dict[str, str]) -> AsyncIterator[SeededEvents]:
    async with seeded_events(environment) as found:
        yield found

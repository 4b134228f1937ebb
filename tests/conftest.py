"""Fixtures of every test: the emulators, and a database and topics of its own on them."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from anyio.from_thread import start_blocking_portal

from deploy.local.emulators import Emulators, running_emulators
from deploy.local.errors import MissingEmulatorError
from deploy.local.provision import StackNames
from tests.support.emulators.provisioned import provisioned


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """The emulators, found or started as the local stack does it; one pair for each process of the test run."""
    with start_blocking_portal() as portal:
        context = portal.wrap_async_context_manager(running_emulators(tmp_path_factory.mktemp("emulators")))
        try:
            running = context.__enter__()
        except MissingEmulatorError as error:
            if os.environ.get("CI"):
                raise  # a run that skips what matters must not pass
            pytest.skip(f"NO EMULATORS: {error}")
        try:
            yield running
        finally:
            context.__exit__(None, None, None)


@pytest.fixture
async def names(emulators: Emulators) -> AsyncIterator[StackNames]:
    """A database, topics and subscriptions of this test's own."""
    async with provisioned(emulators, "t") as unique:
        yield unique


@pytest.fixture
def environment(emulators: Emulators, names: StackNames) -> dict[str, str]:
    """Environment variables that point our processes at the emulators and at `names` on them."""
    return names.variables | emulators.variables

"""One ingress for each module whose tests leave nothing behind that another could see."""

from collections.abc import AsyncIterator

import pytest_asyncio

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames, provisioner
from tests.support.wire.ingress import Ingress, Store, open_store, running_ingress

MAX_REQUEST_BYTES = 200_000
"""Small enough to send a body that is too large, large enough for the largest event."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_environment(emulators: Emulators) -> AsyncIterator[dict[str, str]]:
    names = StackNames.unique("r")
    async with provisioner(emulators) as admin:
        await admin.provision(names)
        yield names.variables | emulators.variables
        await admin.delete_topics(names)
        await admin.delete_instance(names)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingress(module_environment: dict[str, str]) -> AsyncIterator[Ingress]:
    async with running_ingress(
        module_environment, MAX_REQUEST_BYTES=str(MAX_REQUEST_BYTES), REQUEST_READ_TIMEOUT_SECONDS="0.5"
    ) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(module_environment: dict[str, str]) -> AsyncIterator[Store]:
    async with open_store(module_environment) as opened:
        yield opened

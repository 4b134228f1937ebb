"""One ingress and store for each module whose tests do not see each other's events."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.fixtures import module_environment, store
from tests.support.wire.ingress import Ingress, running_ingress

__all__ = ["ingress", "module_environment", "store"]

MAX_REQUEST_BYTES = 200_000
"""Small enough to send a body that is too large, large enough for the largest event."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingress(module_environment: dict[str, str]) -> AsyncIterator[Ingress]:
    async with running_ingress(
        module_environment, MAX_REQUEST_BYTES=str(MAX_REQUEST_BYTES), REQUEST_READ_TIMEOUT_SECONDS="0.5"
    ) as running:
        yield running

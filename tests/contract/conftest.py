"""The implementations of each port: `memory`, `emulator`, and for Pub/Sub `mannered`, a double of production."""

from collections.abc import AsyncIterator

import pytest

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from tests.support.emulators.brokers import Broker, MemoryBroker, PubSubBroker, pubsub_broker
from tests.support.emulators.pubsub_manners.double import pubsub_double
from tests.support.emulators.pubsub_manners.manners import GOOD_DAY
from tests.support.emulators.storages import MemoryStorage, SpannerStorage, Storage, spanner_storage

BOTH = ["memory", pytest.param("emulator", marks=pytest.mark.emulators)]


@pytest.fixture
def memory_storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
async def emulator_storage(environment: dict[str, str]) -> AsyncIterator[SpannerStorage]:
    async with spanner_storage(environment) as storage:
        yield storage


@pytest.fixture(params=BOTH)
def storage(request: pytest.FixtureRequest) -> Storage:
    # Not both at once: the emulators start only where they are asked for.
    found: Storage = request.getfixturevalue(f"{request.param}_storage")
    return found


@pytest.fixture
async def memory_broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
async def emulator_broker(emulators: Emulators) -> AsyncIterator[PubSubBroker]:
    async with pubsub_broker(StackNames.unique("t").variables | emulators.variables) as broker:
        yield broker


@pytest.fixture
async def mannered_broker(emulators: Emulators) -> AsyncIterator[PubSubBroker]:
    async with pubsub_double(emulators.pubsub_host, GOOD_DAY) as double:
        behind = emulators.variables | {"PUBSUB_EMULATOR_HOST": double.address}
        async with pubsub_broker(StackNames.unique("t").variables | behind) as broker:
            yield broker


@pytest.fixture(params=[*BOTH, pytest.param("mannered", marks=pytest.mark.emulators)])
def broker(request: pytest.FixtureRequest) -> Broker:
    found: Broker = request.getfixturevalue(f"{request.param}_broker")
    return found

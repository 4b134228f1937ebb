"""The two implementations of each port, by the names `memory` and `emulator`."""

from collections.abc import AsyncIterator

import pytest

from tests.support.storages import MemoryStorage, SpannerStorage, Storage, spanner_storage

BOTH = ["memory", pytest.param("emulator", marks=pytest.mark.emulators)]


@pytest.fixture
def memory_storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
async def emulator_storage(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SpannerStorage]:
    monkeypatch.setenv("SPANNER_EMULATOR_HOST", environment["SPANNER_EMULATOR_HOST"])
    async with spanner_storage(environment) as storage:
        yield storage


@pytest.fixture(params=BOTH)
def storage(request: pytest.FixtureRequest) -> Storage:
    # Not both at once: the emulators start only where they are asked for.
    found: Storage = request.getfixturevalue(f"{request.param}_storage")
    return found

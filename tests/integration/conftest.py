"""What tests of the operators' commands use."""

from collections.abc import AsyncIterator

import pytest

from tests.support.graveyard import Graveyard
from tests.support.graveyard import graveyard as opened


@pytest.fixture
async def graveyard(environment: dict[str, str]) -> AsyncIterator[Graveyard]:
    async with opened(environment) as found:
        yield found

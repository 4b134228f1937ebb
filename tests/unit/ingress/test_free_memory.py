"""Memory that was freed below live objects goes back to the operating system once the process is idle."""

from itertools import count

import anyio
import pytest

from ingress import free_memory
from ingress.free_memory import give_back_until, malloc_trim, resident_mib

pytestmark = pytest.mark.skipif(malloc_trim() is None, reason="only glibc has malloc_trim")

FREED_MIB = 100
"""Of some 200 that are freed."""


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "INTERVAL_SECONDS", 0.02)


def _sparse() -> list[bytes]:
    """One of fifty objects, which are too large for Python's own allocator; the others were freed."""
    return [bytes(3000 + number % 5000) for number in range(40_000)][::50]


async def test_what_a_flood_left_free_is_given_back_when_the_process_is_idle() -> None:
    stopping = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_back_until, stopping, lambda: 0.0)
        await anyio.wait_all_tasks_blocked()
        live = _sparse()
        full = resident_mib()
        with anyio.fail_after(10):
            while resident_mib() > full - FREED_MIB:
                await anyio.sleep(0.01)
        stopping.set()
    assert len(live) == 800


async def test_nothing_is_given_back_while_the_process_is_busy() -> None:
    stopping = anyio.Event()
    looks = count()

    def busy() -> float:
        return float(next(looks))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_back_until, stopping, busy)
        await anyio.wait_all_tasks_blocked()
        live = _sparse()
        full = resident_mib()
        with anyio.fail_after(10):
            while next(looks) < 20:
                await anyio.sleep(0.01)
        assert resident_mib() > full - FREED_MIB
        stopping.set()
    assert len(live) == 800

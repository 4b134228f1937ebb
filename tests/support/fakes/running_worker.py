"""Runs parts of a WorkerWorld, and waits for what they do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from tests.support.eventually import eventually
from tests.support.fakes.worker_world import PROBE_SECONDS, WorkerWorld


@asynccontextmanager
async def pulling(world: WorkerWorld) -> AsyncIterator[None]:
    """Runs the prefetcher without lanes, and stops it in order."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.prefetcher.run)
        yield
        world.stopping.set()
        tasks.cancel_scope.deadline = anyio.current_time() + 2
    assert not tasks.cancel_scope.cancelled_caught, "did not stop"


async def extended(world: WorkerWorld) -> None:
    """Waits for the next extension of leases."""
    so_far = world.subscription.failures.count("extend")
    await eventually(lambda: world.subscription.failures.count("extend") > so_far)


async def probes(world: WorkerWorld, count: int = 1) -> None:
    """Lets time pass until the circuit has admitted `count` more probes that send."""
    sends = len(world.forwarder.requests)
    await world.time_passes_until(
        lambda: len(world.forwarder.requests) >= sends + count, step_seconds=10 * PROBE_SECONDS
    )

"""Drives a circuit: failures that open it, and waits for admission."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from tests.support.eventually import eventually
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.worker_world import PROBE_SECONDS
from worker.circuit import (
    FAILURES_TO_OPEN,
    Admission,
    Circuit,
)


def fail(circuit: Circuit, times: int, reason: str = "http_503", retry_after: float | None = None) -> None:
    for _ in range(times):
        circuit.failed(reason, retry_after)


def open_it(circuit: Circuit) -> None:
    fail(circuit, FAILURES_TO_OPEN)
    assert circuit.open_reason == "http_503"


@asynccontextmanager
async def admitting(circuit: Circuit) -> AsyncIterator[list[Admission]]:
    """Runs a task that waits for one admission; the list holds it once it was granted."""
    admitted: list[Admission] = []

    async def wait() -> None:
        admitted.append(await circuit.admit())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        yield admitted
        tasks.cancel_scope.cancel()


async def is_admitted_after(circuit: Circuit, clock: ManualClock, seconds: float) -> bool:
    """Whether a waiting task is admitted after `seconds`, and not before."""
    async with admitting(circuit) as admitted:
        clock.advance(seconds * 0.99)
        await anyio.sleep(2 * PROBE_SECONDS)
        too_early = bool(admitted)
        clock.advance(seconds * 0.02)
        circuit._notify()  # rather than wait for as long as the clock now says has passed
        await eventually(lambda: admitted)
        circuit.leave(admitted[0])
        return not too_early


async def probe(circuit: Circuit, clock: ManualClock, seconds: float) -> Admission:
    clock.advance(seconds)
    with anyio.fail_after(1):
        return await circuit.admit()

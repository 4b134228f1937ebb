"""What every WorkerStates does: keeps the last that each worker told, and tells how long ago that was."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from shared.worker_states import WorkerState
from tests.support.storages import Storage

AT = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)


def state(**fields: object) -> WorkerState:
    return replace(WorkerState(str(uuid.uuid4()), "1.2.3", AT), **fields)  # type: ignore[arg-type]


async def test_nobody_was_seen_before_anybody_told_anything(storage: Storage) -> None:
    assert await storage.workers.seen() == []


async def test_what_a_worker_told_last_is_kept(storage: Storage) -> None:
    first = state()
    opened = replace(first, circuit_reason="http_503", circuit_since=AT + timedelta(hours=1))
    await storage.workers.report(first)

    await storage.workers.report(opened)

    assert [each.state for each in await storage.workers.seen()] == [opened]


async def test_a_circuit_that_closed_and_a_worker_that_stopped_are_told(storage: Storage) -> None:
    opened = state(circuit_reason="http_503", circuit_since=AT)
    await storage.workers.report(opened)
    stopped = replace(opened, circuit_reason=None, circuit_since=None, is_stopped=True)

    await storage.workers.report(stopped)

    assert [each.state for each in await storage.workers.seen()] == [stopped]


async def test_who_told_something_last_comes_first_with_the_time_since(storage: Storage) -> None:
    early, late = state(), state()
    await storage.workers.report(late)
    await storage.workers.report(early)
    await storage.time_passes(0.05)
    await storage.workers.report(late)

    first, second = await storage.workers.seen()

    assert [first.state, second.state] == [late, early]
    assert timedelta(0) <= first.seen_ago < second.seen_ago
    assert second.seen_ago >= timedelta(seconds=0.05)

"""What every ProcessStates does: keeps each process's latest report, and returns how old it is."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.process.process_states import ProcessState, Report, Role
from tests.support.emulators.storages import Storage

QUIET = Report()
AT = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)
OPEN = Report(circuit_reason="http_503", circuit_since=AT, next_probe_at=AT + timedelta(seconds=5))
FULL = Report(
    accepted=1,
    refused=2,
    failed=3,
    delivered=4,
    dead_lettered=5,
    failed_requests=6,
    last_failure="timeout",
    last_failure_at=AT,
    circuit_reason="http_503",
    circuit_since=AT + timedelta(hours=1),
    next_probe_at=AT + timedelta(hours=2),
    nothing_pending_before=AT - timedelta(seconds=1),
)


def state(role: Role = Role.WORKER, report: Report = QUIET) -> ProcessState:
    return ProcessState(
        process_id=str(uuid.uuid4()), role=role, version="1.2.3", started_at=AT, interval_seconds=10.25, report=report
    )


async def test_nobody_was_seen_before_anybody_told_anything(storage: Storage) -> None:
    assert await storage.processes.seen() == []


@pytest.mark.parametrize("role", Role)
async def test_what_a_process_told_last_is_kept(storage: Storage, role: Role) -> None:
    first = state(role)
    later = replace(first, report=FULL, interval_seconds=9.75)
    await storage.processes.report(first)

    await storage.processes.report(later)

    assert [each.state for each in await storage.processes.seen()] == [later]


async def test_a_circuit_that_closed_and_a_process_that_stopped_are_told(storage: Storage) -> None:
    opened = state(report=OPEN)
    await storage.processes.report(opened)
    stopped = replace(opened, report=Report(), is_stopped=True)

    await storage.processes.report(stopped)

    assert [each.state for each in await storage.processes.seen()] == [stopped]


async def test_who_told_something_last_comes_first_with_the_time_since(storage: Storage) -> None:
    early, late = state(), state(Role.INGRESS)
    await storage.processes.report(late)
    await storage.processes.report(early)
    await storage.time_passes(0.05)
    await storage.processes.report(late)

    first, second = await storage.processes.seen()

    assert [first.state, second.state] == [late, early]
    assert timedelta(0) <= first.seen_ago < second.seen_ago
    assert second.seen_ago >= timedelta(seconds=0.05)

"""Fixtures of the tests of the worker's loops."""

from collections.abc import Iterator

import pytest
import stamina

from tests.support.fakes.suspects_world import CHECK_SECONDS


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shortens the waits that no setting reaches, and makes retried calls fail at the first error."""
    monkeypatch.setattr("worker.stoppable_waits.FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("worker.stoppable_waits.LONGEST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr("worker.pull_loop.PROBE_PULL_TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr("worker.leases.EXTENSION_INTERVAL_SECONDS", 0.005)
    monkeypatch.setattr("worker.suspects.CHECK_INTERVAL_SECONDS", CHECK_SECONDS)
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
def short_takes(short_waits: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - shortens those too
    """Shortens the time that a lane waits for more messages as well."""
    monkeypatch.setattr("worker.prefetch.TAKE_TIMEOUT_SECONDS", 0.02)

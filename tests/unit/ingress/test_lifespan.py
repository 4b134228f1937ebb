"""The runtime in a task of its own: entered, left, and missed when it ends by itself."""

import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

from ingress.app import in_own_task
from tests.support.eventually import eventually


@asynccontextmanager
async def runtime(fail: anyio.Event, ended: list[str]) -> AsyncIterator[str]:
    async def run() -> None:
        await fail.wait()
        raise RuntimeError("a bug")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            yield "runtime"
        finally:
            tasks.cancel_scope.cancel()
            ended.append("ended")


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    return raised


async def test_it_is_left_when_the_block_ends(signals: list[int]) -> None:
    ended: list[str] = []

    async with in_own_task(runtime(anyio.Event(), ended)) as value:
        assert (value, ended) == ("runtime", [])

    assert (ended, signals) == (["ended"], [])


async def test_a_failure_at_the_start_is_raised(signals: list[int]) -> None:
    class Broken(AbstractAsyncContextManager[str]):
        async def __aenter__(self) -> str:
            raise LookupError("no schema")

        async def __aexit__(self, *_: object) -> None:
            raise AssertionError

    with pytest.raises(LookupError, match="no schema"):
        await in_own_task(Broken()).__aenter__()

    assert signals == []


async def test_one_that_ends_by_itself_ends_the_process_and_is_told(
    signals: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    fail = anyio.Event()
    ended: list[str] = []

    async def serve() -> None:
        async with in_own_task(runtime(fail, ended)):
            fail.set()
            await eventually(lambda: signals)

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await serve()

    assert signals == [signal.SIGTERM]
    assert "runtime_failed" in capsys.readouterr().out

"""The emulators and other managed processes are gone afterwards, however the parent ends."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from deploy.local.errors import StartFailedError
from deploy.local.processes import ManagedProcess, Supervisor
from tests.support.processes import environ, members, until

pytestmark = [
    pytest.mark.emulators,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in Linux's /proc"),
]

REPOSITORY = Path(__file__).parents[2]

PARENT = """
import sys
from pathlib import Path
import anyio
from deploy.local.emulators import running_emulators

async def main():
    async with running_emulators(Path(sys.argv[1])) as emulators:
        print(*(process.pid for process in emulators.processes), flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_kill_9_of_the_parent_leaves_no_emulator(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    parent = await anyio.open_process(
        command, cwd=REPOSITORY, env=environ(PYTHONPATH=str(REPOSITORY)), stdin=subprocess.DEVNULL, stderr=None
    )
    assert parent.stdout is not None
    try:
        with anyio.fail_after(15):
            line = await BufferedByteReceiveStream(parent.stdout).receive_until(b"\n", 100)
        groups = [int(pid) for pid in line.split()]
        assert len(members(groups)) == 3
    finally:
        # Before the handle is closed, which waits for the end of a parent that sleeps for ever.
        parent.kill()
        await parent.aclose()
    await until(lambda: not members(groups), 3)


async def test_what_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    stubborn = "trap '' TERM; sleep 600 & echo ready; wait; wait"
    log = tmp_path / "log"
    async with Supervisor() as supervisor:
        process = await supervisor.start(
            ManagedProcess(name="stubborn", argv=["sh", "-c", stubborn], env=environ(), log_path=log, grace_seconds=0.2)
        )
        await until(lambda: "ready" in log.read_text(), 5)
        assert len(members([process.pid])) == 2
    assert members([process.pid]) == []
    assert process.returncode == -signal.SIGKILL


async def test_a_stopped_process_ends_without_sigkill(tmp_path: Path) -> None:
    async with Supervisor() as supervisor:
        process = await supervisor.start(
            ManagedProcess(name="sleep", argv=["sleep", "600"], env=environ(), log_path=tmp_path / "log")
        )
        process.send_signal(signal.SIGSTOP)
        await process.terminate()
        assert process.returncode == -signal.SIGTERM


async def test_a_signal_to_what_has_ended_meanwhile_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Supervisor() as supervisor:
        process = await supervisor.start(
            ManagedProcess(name="true", argv=["true"], env=environ(), log_path=tmp_path / "log")
        )
        assert await process.wait() == 0
        with monkeypatch.context() as a_moment_ago:
            a_moment_ago.setattr(ManagedProcess, "_has_members", lambda _: True)
            process.send_signal(signal.SIGTERM)


async def test_a_failed_start_leaves_nothing(tmp_path: Path) -> None:
    first = ManagedProcess(name="first", argv=["sleep", "600"], env=environ(), log_path=tmp_path / "log")
    second = ManagedProcess(name="second", argv=["does-not-exist"], env=environ())

    async def start_both() -> None:
        async with Supervisor() as supervisor:
            await supervisor.start(first)
            await supervisor.start(second)

    with pytest.raises(StartFailedError, match="cannot start second: no program does-not-exist"):
        await start_both()
    assert members([first.pid]) == []


async def test_cancelled_while_ending_still_ends_everything(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with Supervisor() as supervisor:
            process = await supervisor.start(
                ManagedProcess(name="sleep", argv=["sleep", "600"], env=environ(), log_path=tmp_path / "log")
            )
            scope.cancel()
            await anyio.sleep_forever()
    assert members([process.pid]) == []


async def test_what_asyncio_cancels_on_the_way_out_is_ended_by_the_guard(tmp_path: Path) -> None:
    """No anyio scope shields from `Task.cancel`, which a second Ctrl-C may amount to."""
    stubborn = ManagedProcess(
        name="stubborn",
        argv=["sh", "-c", "trap '' TERM; echo ready; sleep 600"],
        env=environ(),
        log_path=tmp_path / "l",
    )
    leave = asyncio.Event()

    async def body() -> None:
        async with Supervisor() as supervisor:
            await supervisor.start(stubborn)
            await leave.wait()

    task = asyncio.create_task(body())
    await until(lambda: stubborn.process is not None and "ready" in (tmp_path / "l").read_text(), 5)
    leave.set()
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not members([stubborn.pid]), 3)
    await stubborn.wait()

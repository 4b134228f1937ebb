"""`nest-events tail` as a process: JSON lines, a pipe, a terminal, Ctrl-C and an outage of Spanner."""

import json
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import pytest

from deploy.local.emulators import Emulators
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import SECONDS, start_nest_events
from tests.support.operators.on_terminal import on_terminal
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

pytestmark = pytest.mark.emulators

T = TypeVar("T")


@asynccontextmanager
async def tailing(environment: dict[str, str], *arguments: str) -> AsyncIterator["subprocess.Popen[str]"]:
    """The command with a look every second; killed at the end, so that a test that fails does not hang."""
    with start_nest_events(environment, "tail", "--interval", "1", *arguments) as process:
        try:
            yield process
        finally:
            process.kill()


async def in_time(read: Callable[[], T]) -> T:
    with anyio.fail_after(SECONDS):
        return await anyio.to_thread.run_sync(read, abandon_on_cancel=True)


async def next_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return (await in_time(process.stdout.readline)).rstrip("\n")


async def end(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = await in_time(process.communicate)
    return process.returncode, out, err


async def until_it_tells(seeded: SeededEvents, process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The first line, of one of several events: the process begins to look at a time that nobody outside knows."""
    assert process.stdout is not None
    async with anyio.create_task_group() as tasks:

        async def log() -> None:
            while True:
                await seeded.log(1, name="beginning")
                await anyio.sleep(0.3)

        tasks.start_soon(log)
        found: dict[str, Any] = json.loads(await next_line(process))
        tasks.cancel_scope.cancel()
    return found


@pytest.mark.timeout(60)
async def test_with_json_each_line_is_an_event_and_ctrl_c_ends_it(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    async with tailing(environment, "--json") as process:
        first = await until_it_tells(seeded, process)
        (event,) = await seeded.log(1, name="order_paid", caller="a@example.com", actor_id="somebody")
        found = first
        while found["event_name"] == "beginning":
            found = json.loads(await next_line(process))
        code, out, err = await end(process)

    assert found.keys() == {"at", "event_name", "caller", "state", "reason", "event_id"}
    assert (found["event_id"], found["state"], found["caller"]) == (event.event_id, "PENDING", "a@example.com")
    assert (code, out, err) == (130, "", "")


@pytest.mark.timeout(90)
async def test_it_survives_an_outage_of_spanner_says_so_and_misses_nothing(
    environment: dict[str, str], emulators: Emulators, seeded: SeededEvents
) -> None:
    async with tcp_proxy(emulators.spanner_host) as proxy:
        behind = environment | {"SPANNER_EMULATOR_HOST": proxy.address}
        async with tailing(behind, "--json") as process:
            await until_it_tells(seeded, process)
            await proxy.switch(Mode.BLACKHOLE)
            told: list[dict[str, Any]] = []
            while not told or "notice" not in told[-1]:
                told.append(json.loads(await next_line(process)))
            (event,) = await seeded.log(1, name="during")
            await proxy.switch(Mode.PASS)
            back = json.loads(await next_line(process))
            while (found := json.loads(await next_line(process)))["event_name"] == "beginning":
                pass
            code, _, _ = await end(process)

    assert told[-1]["notice"] == "unavailable"
    assert "Spanner did not answer within 5 s" in told[-1]["why"]
    assert back == {"notice": "available"}
    assert (found["event_id"], found["event_name"]) == (event.event_id, "during")
    assert code == 130


@pytest.mark.timeout(60)
async def test_where_nobody_reads_any_more_it_ends_quietly_without_a_further_event(
    environment: dict[str, str],
) -> None:
    async with tailing(environment) as process:
        header = await next_line(process)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = await in_time(process.stderr.read)
        code = await in_time(process.wait)

    assert header.split("\t") == ["time", "event name", "caller", "state", "reason", "event_id"]
    assert (code, err) == (4, "")


@pytest.mark.timeout(60)
async def test_a_pipe_has_one_event_a_line_and_says_on_stderr_what_was_left_out(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    async with tailing(environment, "--event-name", "order_paid") as process:
        header = await next_line(process)
        await seeded.log(400)  # in one commit
        lines = [await next_line(process) for _ in range(200)]
        code, _, err = await end(process)

    assert header.startswith("time\t")
    assert {len(line.split("\t")) for line in lines} == {6}
    assert (code, err) == (130, "… 200 more\n")


@pytest.mark.timeout(60)
async def test_on_a_terminal_it_shows_columns(environment: dict[str, str], seeded: SeededEvents) -> None:
    async with on_terminal(environment, "tail", "--interval", "1") as terminal:
        await terminal.read_until("event_id")
        (event,) = await seeded.log(1)
        await terminal.read_until(event.event_id)
        terminal.process.send_signal(signal.SIGINT)
        await terminal.read_to_the_end()
        code = await anyio.to_thread.run_sync(terminal.process.wait)

    assert code == 130
    assert "Z  order_paid" in terminal.text
    assert "caller@example.com" in terminal.text


async def test_a_spanner_that_is_away_at_first_is_an_error_like_any_other(environment: dict[str, str]) -> None:
    async with tailing(environment | {"SPANNER_EMULATOR_HOST": "127.0.0.1:9"}) as process:
        out, err = await in_time(process.communicate)

    assert (process.returncode, out) == (3, "")
    assert "it cannot be reached" in err

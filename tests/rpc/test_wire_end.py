"""How the process ends with calls and clients in every state, and what it reports where it cannot start."""

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from deploy.local.processes import free_port
from deploy.local.stack import REPOSITORY
from ingress.http.listener import BACKLOG, connections_allowed
from tests.support.eventually import eventually
from tests.support.wire.http1 import LOG_EVENTS, Connection, connection, head_of, request
from tests.support.wire.http2 import Http2Connection
from tests.support.wire.tcp_proxy import Mode, TcpProxy, tcp_proxy

pytestmark = [pytest.mark.emulators, pytest.mark.processes]

GOOD = b'{"event_name":"end","forward_to_statsig":false}'
START_SECONDS = 20.0
END_SECONDS = 7.0


RUNTIME_THAT_FAILS = """
import anyio, runpy
from shared.process.reporting import Reporting

async def fails(self):
    await anyio.sleep(1)
    raise RuntimeError("a bug")

Reporting.run_until_stopped = fails
runpy.run_module("ingress", run_name="__main__")
"""

FEW_FILES = 200
WITH_FEW_FILES = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, ({FEW_FILES}, {FEW_FILES}))
runpy.run_module("ingress", run_name="__main__")
"""


@asynccontextmanager
async def process(
    environment: dict[str, str], port: int, program: Sequence[str] = ("-m", "ingress")
) -> AsyncIterator[Process]:
    """`python -m ingress`, killed at last."""
    variables = {**os.environ, **environment, "HOST": "127.0.0.1", "PORT": str(port)}
    running = await asyncio.create_subprocess_exec(
        sys.executable, *program, cwd=REPOSITORY, env=variables, stdout=PIPE, stderr=PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def until_logged(running: Process, event: bytes, seconds: float = START_SECONDS) -> None:
    assert running.stdout is not None
    async with asyncio.timeout(seconds):
        while event not in (line := await running.stdout.readline()):
            assert line, "it ended"


async def until_listening(running: Process) -> None:
    await until_logged(running, b'"listening"')


@asynccontextmanager
async def behind_proxy(environment: dict[str, str], port: int) -> AsyncIterator[tuple[Process, TcpProxy]]:
    """A process that listens, and the proxy in front of its Spanner."""
    async with tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy:
        variables = environment | {"SPANNER_EMULATOR_HOST": proxy.address, "COMMIT_TIMEOUT_SECONDS": "2"}
        async with process(variables, port) as running:
            await until_listening(running)
            yield running, proxy


async def test_it_ends_in_time_and_in_order_whatever_its_clients_do(environment: dict[str, str]) -> None:
    port = free_port()
    async with behind_proxy(environment, port) as (running, proxy):
        async with connection(port) as warm:
            assert (await warm.call(GOOD)).status == 200
        await proxy.switch(Mode.BLACKHOLE)
        clients = [await Connection.open(port) for _ in range(5)]
        in_flight, idle, half_a_head, half_a_body, unread = clients
        over_http2 = await Http2Connection.open(port)
        stream = over_http2.begin(GOOD)
        await half_a_head.send(head_of()[:40])
        await half_a_body.send(head_of("content-length: 100") + b"{")
        unread.stop_reading()
        bad = b",".join([b'{"event_name":"","actor_id":"' + b"a" * 8_000 + b'"}'] * 400)
        await unread.send(request(b'{"events":[' + bad + b"]}", path=LOG_EVENTS))
        await in_flight.send(request(GOOD))
        await asyncio.sleep(0.5)  # so that all of them are where they are to be
        running.send_signal(signal.SIGTERM)
        started = time.monotonic()

        # Calls in flight are answered, by what became of them; nobody else holds the process up.
        assert (await in_flight.answer()).status in {503, 504}
        assert await over_http2.status(stream) in {503, 504}
        async with asyncio.timeout(END_SECONDS):
            assert await idle.rest() == b""
            assert await half_a_head.rest() == b""
            await half_a_body.rest()
            assert await running.wait() == 0
        assert time.monotonic() - started < END_SECONDS
        for client in clients:
            await client.close()
        await over_http2.close()


async def connects(port: int) -> bool:
    """False where it is refused. A connection that the server took just before is reset."""
    try:
        async with connection(port) as late:
            await late.send(request(GOOD))
            return await late.is_closed()
    except ConnectionError:
        return False


async def until_refused(running: Process, port: int) -> None:
    """Long before the process ends, which waits for other clients."""
    async with asyncio.timeout(1):
        while await connects(port):
            pass
    assert running.returncode is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they wait for the end of the process")
async def test_while_it_ends_new_connections_are_refused_at_once(environment: dict[str, str]) -> None:
    port = free_port()
    async with process(environment, port) as running:
        await until_listening(running)
        async with connection(port) as half_a_body:
            await half_a_body.send(head_of("content-length: 100") + b"{")
            async with connection(port) as warm:  # so that the other one is accepted too
                assert (await warm.call(GOOD)).status == 200
            running.send_signal(signal.SIGTERM)
            await until_logged(running, b'"draining"', END_SECONDS)

            await until_refused(running, port)


@asynccontextmanager
async def ending_with_a_call(environment: dict[str, str], port: int) -> AsyncIterator[Process]:
    """A process and a client whose call waits for Spanner. At last the call was answered, and the process has ended."""
    async with behind_proxy(environment, port) as (running, proxy), connection(port) as in_flight:
        assert (await in_flight.call(GOOD)).status == 200
        await proxy.switch(Mode.DROP_RESPONSE)
        await in_flight.send(request(GOOD))
        await eventually(lambda: proxy.counts.swallowed > 0)
        yield running

        assert (await in_flight.answer()).status in {503, 504}
        async with asyncio.timeout(END_SECONDS):
            assert await running.wait() == 0


def kernel_backlog() -> int:
    return min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii")))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel completes fewer connections")
async def test_it_drains_its_calls_also_while_many_connections_wait_to_be_accepted(environment: dict[str, str]) -> None:
    port = free_port()
    async with AsyncExitStack() as opened, ending_with_a_call(environment, port) as running:
        running.send_signal(signal.SIGSTOP)  # Cloud Run too lets an instance do nothing between calls
        for _ in range(connections_allowed(kernel_backlog() - 100)):
            await opened.enter_async_context(connection(port))
        running.send_signal(signal.SIGTERM)
        running.send_signal(signal.SIGCONT)
        await until_refused(running, port)


async def test_a_second_signal_changes_nothing(environment: dict[str, str]) -> None:
    async with ending_with_a_call(environment, free_port()) as running:
        for number in (signal.SIGTERM, signal.SIGINT):
            running.send_signal(number)
            await until_logged(running, b'"draining"', END_SECONDS)


async def test_however_often_it_is_told_to_end_it_ends_in_order(environment: dict[str, str]) -> None:
    async with process(environment, free_port()) as running:
        await until_listening(running)
        async with asyncio.timeout(END_SECONDS):
            while running.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGTERM)  # `send_signal` would collect the exit code
                await asyncio.sleep(0.001)
        assert running.returncode == 0


async def test_it_takes_no_calls_once_it_is_ending(environment: dict[str, str]) -> None:
    port = free_port()
    async with process(environment, port) as running:
        await until_listening(running)
        async with connection(port) as caller:
            assert (await caller.call(GOOD)).status == 200
            running.send_signal(signal.SIGTERM)
            async with asyncio.timeout(END_SECONDS):
                assert await caller.is_closed()
                assert await running.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            await Connection.open(port)


async def test_it_says_so_where_its_address_is_taken(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with process(environment, taken.getsockname()[1]) as running:
            async with asyncio.timeout(START_SECONDS):
                said, _ = await running.communicate()
            assert running.returncode == 1
            assert b"start_failed" in said


async def test_a_signal_during_the_start_ends_it_in_order(environment: dict[str, str]) -> None:
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        process(environment | {"SPANNER_EMULATOR_HOST": proxy.address}, free_port()) as running,
    ):
        await proxy.switch(Mode.BLACKHOLE)
        async with asyncio.timeout(START_SECONDS):
            while proxy.counts.accepted == 0:
                await asyncio.sleep(0.05)
            running.send_signal(signal.SIGTERM)
            assert await running.wait() == 0


async def test_it_ends_with_a_failure_where_its_runtime_fails(environment: dict[str, str]) -> None:
    async with process(environment, free_port(), ("-c", RUNTIME_THAT_FAILS)) as running:
        async with asyncio.timeout(START_SECONDS + END_SECONDS):
            out, _ = await running.communicate()

        assert running.returncode == 1
        assert b'"runtime_failed"' in out


async def test_connections_beyond_the_limit_of_open_files_wait_until_others_close(environment: dict[str, str]) -> None:
    port = free_port()
    async with process(environment, port, ("-c", WITH_FEW_FILES)) as running:
        await until_logged(running, b'"connections_limited"')
        await until_listening(running)
        async with connection(port) as first, AsyncExitStack() as waiting:
            async with AsyncExitStack() as opened:
                for _ in range(FEW_FILES):
                    await opened.enter_async_context(connection(port))
                last = await waiting.enter_async_context(connection(port))
                await last.send(request(GOOD))
                assert (await first.call(GOOD)).status == 200
            assert (await last.answer()).status == 200

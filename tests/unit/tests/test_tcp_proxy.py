"""The TCP proxy fails in each of its modes, for existing connections too, and recovers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.wire.tcp_proxy import Mode, TcpProxy, tcp_proxy


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[TcpProxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, tcp_proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as proxy:
        yield proxy


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def echoed(self, *, seconds: float = 5.0) -> bool:
        """Whether a byte that is sent now comes back in time."""
        self.writer.write(b"x")
        return await self.receives(seconds=seconds)

    async def receives(self, *, seconds: float = 5.0) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.readexactly(1) == b"x"
        except TimeoutError:
            return False


@asynccontextmanager
async def client(proxy: TcpProxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_passes_and_counts() -> None:
    async with echo_behind_proxy() as proxy, client(proxy) as one, client(proxy) as other:
        assert await one.echoed()
        assert await other.echoed()

        assert (proxy.counts.accepted, proxy.counts.open) == (2, 2)
        assert (proxy.counts.to_server, proxy.counts.to_client) == (2, 2)


async def test_refuses_resets_what_exists_and_listens_again_on_the_same_port() -> None:
    async with echo_behind_proxy() as proxy:
        async with client(proxy) as existing:
            assert await existing.echoed()
            await proxy.switch(Mode.REFUSE)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await existing.echoed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.switch(Mode.PASS)
        async with client(proxy) as another:
            assert await another.echoed()


async def test_a_blackhole_holds_and_then_delivers() -> None:
    async with echo_behind_proxy() as proxy, client(proxy) as existing:
        assert await existing.echoed()
        await proxy.switch(Mode.BLACKHOLE)
        async with client(proxy) as another:
            assert not await existing.echoed(seconds=0.05)
            assert not await another.echoed(seconds=0.05)
            await proxy.switch(Mode.PASS)

            assert await existing.receives()
            assert await another.receives()


@pytest.mark.parametrize("ticks", range(12))
async def test_no_change_of_mode_is_missed_whenever_it_comes(ticks: int) -> None:
    async with echo_behind_proxy() as proxy:
        for _ in range(5):
            async with client(proxy) as one:
                await proxy.switch(Mode.BLACKHOLE)
                one.writer.write(b"x")
                for _ in range(ticks):
                    await asyncio.sleep(0)
                await proxy.switch(Mode.PASS)

                assert await one.receives()


async def test_delays_each_way() -> None:
    async with echo_behind_proxy() as proxy, client(proxy) as one:
        await proxy.switch(Mode.DELAY, delay_seconds=0.05)
        started = time.monotonic()

        assert await one.echoed()
        assert time.monotonic() - started >= 0.1


async def test_resets_what_exists_and_what_comes() -> None:
    async with echo_behind_proxy() as proxy:
        async with client(proxy) as existing:
            assert await existing.echoed()
            await proxy.switch(Mode.RESET)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await existing.echoed()
        async with client(proxy) as another:
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await another.echoed()


async def test_drops_answers_of_requests_that_arrived_and_resets_the_gap_afterwards() -> None:
    async with echo_behind_proxy() as proxy, client(proxy) as one, client(proxy) as untouched:
        assert await untouched.echoed()
        await proxy.switch(Mode.DROP_RESPONSE)
        one.writer.write(b"x")
        await proxy.until(lambda counts: counts.swallowed == 1)
        assert proxy.counts.to_server == 2
        assert not await one.receives(seconds=0.05)
        await proxy.switch(Mode.PASS)

        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await one.receives()
        assert await untouched.echoed()

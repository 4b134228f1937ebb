"""A TCP proxy in front of an emulator that fails on command: real sockets, real outages.

    async with tcp_proxy(emulators.spanner_host) as proxy:
        ...                                   # point a client at proxy.address
        await proxy.switch(Mode.BLACKHOLE)    # applies to existing connections too

An emulator that is killed loses its state; behind the proxy it keeps it.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from tests.support.wire.tcp_link import Counts, Link, Mode, reset_connection

__all__ = ["Mode", "TcpProxy", "tcp_proxy"]

BACKLOG: Final = 1024


class TcpProxy:
    """Created by `tcp_proxy`."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host.strip("[]"), int(port))
        # Holds the port also while it is closed, so that no other program takes it and connections are refused.
        self._reservation = _reusable_socket()
        self._reservation.bind(("127.0.0.1", 0))
        self.port: int = self._reservation.getsockname()[1]
        self.mode = Mode.PASS
        self.delay_seconds = 0.0
        self.counts = Counts()
        self._changed = asyncio.Event()
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """`host:port`, as SPANNER_EMULATOR_HOST and PUBSUB_EMULATOR_HOST have it."""
        return f"127.0.0.1:{self.port}"

    async def switch(self, mode: Mode, *, delay_seconds: float = 0.1) -> None:
        """Change the mode, for existing connections too. It has taken effect when this returns."""
        self.mode = mode
        self.delay_seconds = delay_seconds if mode is Mode.DELAY else 0.0
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if mode is Mode.REFUSE:
            await self._stop_listening()
        else:
            self._listen()
        for link in list(self._links):
            if mode in (Mode.REFUSE, Mode.RESET) or (link.has_gap and mode is not Mode.DROP_RESPONSE):
                link.reset()

    async def until(self, condition: Callable[[Counts], bool], *, seconds: float = 10.0) -> None:
        """Wait until the condition on the counts holds, for example that a request has reached the server.

        Raises:
            TimeoutError: it did not in time.
        """
        async with asyncio.timeout(seconds):
            while not condition(self.counts):
                await asyncio.sleep(0.002)

    @property
    def change(self) -> asyncio.Event:
        """Set when the present mode ends."""
        return self._changed

    async def close(self) -> None:
        await self._stop_listening()
        for link in list(self._links):
            link.reset()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._reservation.close()

    def _listen(self) -> None:
        if self._accepting is None:
            listener = _reusable_socket()
            listener.bind(("127.0.0.1", self.port))
            listener.listen(BACKLOG)
            self._listener = listener
            self._accepting = asyncio.create_task(self._accept(listener))

    async def _stop_listening(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                client, _ = await loop.sock_accept(listener)
                client.setblocking(False)
                self.counts.accepted += 1
                task = asyncio.create_task(self._serve(client))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        if self.mode is Mode.RESET:
            reset_connection(client)
            return
        link = Link(self, client)
        self._links.add(link)
        self.counts.open += 1
        try:
            await link.run(self._upstream)
        finally:
            self._links.discard(link)
            self.counts.open -= 1


def _reusable_socket() -> socket.socket:
    one = socket.socket(socket.AF_INET)
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return one


@asynccontextmanager
async def tcp_proxy(upstream: str) -> AsyncIterator[TcpProxy]:
    """A proxy to `host:port`, in mode PASS, in this event loop."""
    proxy = TcpProxy(upstream)
    await proxy.switch(Mode.PASS)
    try:
        yield proxy
    finally:
        await proxy.close()

"""A TCP proxy that stands before an emulator and fails on command: real sockets, real outages.

    async with tcp_proxy(emulators.spanner_host) as proxy:
        ...                                   # point a client at proxy.address
        await proxy.switch(Mode.BLACKHOLE)    # applies to existing connections too

Killing an emulator loses its state; this does not.
"""

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

CHUNK_BYTES: Final = 65_536
QUEUED_CHUNKS: Final = 64
"""Of one direction, while it is delayed or held: then TCP's own backpressure begins."""

BACKLOG: Final = 1024


class Mode(enum.Enum):
    PASS = "pass"  # noqa: S105 - a word, not a credential
    """Forwards both ways."""

    REFUSE = "refuse"
    """Nobody listens: existing connections are reset, new ones refused."""

    BLACKHOLE = "blackhole"
    """Connections stay open and accept bytes, and nothing gets through either way until the mode changes."""

    DELAY = "delay"
    """Every byte takes `delay_seconds` longer, each way."""

    RESET = "reset"
    """Existing connections are reset; new ones are accepted and then reset."""

    DROP_RESPONSE = "drop_response"
    """The server gets every request; the client gets nothing of the answers. Leaving this mode resets the connections
    that lack bytes, since what follows a gap would make no sense."""


@dataclass
class Counts:
    accepted: int = 0
    """Connections of clients, since the start."""

    open: int = 0
    to_server: int = 0
    """Bytes delivered, as the others."""

    to_client: int = 0
    swallowed: int = 0
    """Bytes of answers that DROP_RESPONSE kept."""


class TcpProxy:
    """Made by `tcp_proxy`."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host.strip("[]"), int(port))
        # Holds the port while nobody listens on it, so that it stays ours and connections to it are refused.
        self._reservation = _reusable_socket()
        self._reservation.bind(("127.0.0.1", 0))
        self.port: int = self._reservation.getsockname()[1]
        self.mode = Mode.PASS
        self.delay_seconds = 0.0
        self.counts = Counts()
        self._changed = asyncio.Event()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """`host:port`, as SPANNER_EMULATOR_HOST and PUBSUB_EMULATOR_HOST have it."""
        return f"127.0.0.1:{self.port}"

    async def switch(self, mode: Mode, *, delay_seconds: float = 0.1) -> None:
        """Change the mode, for existing connections too. When this returns, the change has happened."""
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
        """Wait until the counts say so, for example that a request has reached the server.

        Raises:
            TimeoutError: they did not.
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
            _reset(client)
            return
        link = _Link(self, client)
        self._links.add(link)
        self.counts.open += 1
        try:
            await link.run(self._upstream)
        finally:
            self._links.discard(link)
            self.counts.open -= 1


@dataclass(eq=False)
class _Link:
    """One client's connection and ours to the server for it."""

    proxy: TcpProxy
    client: socket.socket
    has_gap: bool = False
    _is_reset: bool = False
    _pumps: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self, upstream: tuple[str, int]) -> None:
        server = socket.socket(socket.AF_INET6 if ":" in upstream[0] else socket.AF_INET)
        server.setblocking(False)
        for one in (self.client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(server, upstream)
            if not self._is_reset:
                self._pumps = [
                    asyncio.create_task(self._pump(self.client, server, is_answer=False)),
                    asyncio.create_task(self._pump(server, self.client, is_answer=True)),
                ]
                await asyncio.gather(*self._pumps)
        except (OSError, asyncio.CancelledError):
            self._is_reset = True  # what one side did to us, the other shall see
        finally:
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            for one in (self.client, server):
                if self._is_reset:
                    _reset(one)
                else:
                    one.close()

    def reset(self) -> None:
        self._is_reset = True
        for pump in self._pumps:
            pump.cancel()

    async def _pump(self, source: socket.socket, sink: socket.socket, *, is_answer: bool) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_CHUNKS)
        reading = asyncio.create_task(self._read(source, queue))
        try:
            while True:
                arrived, data = await queue.get()
                await self._hold(arrived)
                if not data:
                    break
                await self._deliver(sink, data, is_answer=is_answer)
            await reading
            with contextlib.suppress(OSError):  # the other side is gone altogether
                sink.shutdown(socket.SHUT_WR)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, source: socket.socket, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        """An empty chunk is the end; a connection that breaks ends the pump with the error."""
        loop = asyncio.get_running_loop()
        data = b"start"
        while data:
            try:
                data = await loop.sock_recv(source, CHUNK_BYTES)
            except OSError:
                self.reset()
                return
            await queue.put((loop.time(), data))

    async def _hold(self, arrived: float) -> None:
        """Until these bytes may go on: their delay is over, and no blackhole is open."""
        proxy = self.proxy
        loop = asyncio.get_running_loop()
        while True:
            # The event of the mode that is looked at here: one fetched a tick later may be that of the next mode.
            changed = asyncio.create_task(proxy.change.wait())
            try:
                if proxy.mode is Mode.BLACKHOLE:
                    await changed
                elif (remaining := arrived + proxy.delay_seconds - loop.time()) > 0:
                    await asyncio.wait([changed], timeout=remaining)
                else:
                    return
            finally:
                changed.cancel()

    async def _deliver(self, sink: socket.socket, data: bytes, *, is_answer: bool) -> None:
        counts = self.proxy.counts
        if is_answer and (self.has_gap or self.proxy.mode is Mode.DROP_RESPONSE):
            self.has_gap = True
            counts.swallowed += len(data)
            return
        await asyncio.get_running_loop().sock_sendall(sink, data)
        if is_answer:
            counts.to_client += len(data)
        else:
            counts.to_server += len(data)


def _reusable_socket() -> socket.socket:
    one = socket.socket(socket.AF_INET)
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return one


def _reset(one: socket.socket) -> None:
    """A real RST: lingering zero seconds makes close() discard and reset."""
    with contextlib.suppress(OSError):  # closed already
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


@asynccontextmanager
async def tcp_proxy(upstream: str) -> AsyncIterator[TcpProxy]:
    """A proxy to `host:port`, in mode PASS, in this event loop."""
    proxy = TcpProxy(upstream)
    await proxy.switch(Mode.PASS)
    try:
        yield proxy
    finally:
        await proxy.close()

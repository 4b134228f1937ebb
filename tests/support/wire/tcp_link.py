"""One proxied connection, and what a proxy may do to its connections."""

import asyncio
import contextlib
import enum
import socket
import struct
from dataclasses import dataclass, field
from typing import Final, Protocol

CHUNK_BYTES: Final = 65_536

QUEUED_CHUNKS: Final = 64
"""Chunks of one direction that wait while it is delayed or held; beyond them TCP's own back-pressure begins."""


class Mode(enum.Enum):
    PASS = "pass"  # noqa: S105 - a word, not a credential
    """Forwards both ways."""

    REFUSE = "refuse"
    """Closes the port: existing connections are reset, new ones refused."""

    BLACKHOLE = "blackhole"
    """Connections stay open and accept bytes, and none are forwarded either way until the mode changes."""

    DELAY = "delay"
    """Every byte takes `delay_seconds` longer, each way."""

    RESET = "reset"
    """Existing connections are reset; new ones are accepted and then reset."""

    DROP_RESPONSE = "drop_response"
    """The server gets every request, the client no answer. Leaving this mode resets the connections that lack bytes,
    since what follows a gap would make no sense."""


@dataclass
class Counts:
    accepted: int = 0
    """Connections of clients, since the start."""

    open: int = 0
    to_server: int = 0
    """Bytes delivered."""

    to_client: int = 0
    """Bytes delivered."""

    swallowed: int = 0
    """Bytes of answers that DROP_RESPONSE kept back."""


class Switched(Protocol):
    """What a connection reads of its proxy."""

    mode: Mode
    delay_seconds: float
    counts: Counts

    @property
    def change(self) -> asyncio.Event:
        """Set when the present mode ends."""
        ...


@dataclass(eq=False)
class Link:
    """A client's connection to the proxy, and the proxy's to the server for it."""

    proxy: Switched
    client: socket.socket
    has_gap: bool = False
    """Whether the client lacks bytes of an answer."""

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
            self._is_reset = True  # passes on to the other side what one side did
        finally:
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            for one in (self.client, server):
                if self._is_reset:
                    reset_connection(one)
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
        """Queues what arrives; an empty chunk is the end. A connection that breaks resets both sides."""
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
        """Waits until these bytes may go on: their delay is over, and the mode is not BLACKHOLE."""
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


def reset_connection(one: socket.socket) -> None:
    """Closes with an RST: lingering zero seconds makes close() discard and reset."""
    with contextlib.suppress(OSError):  # closed already
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()

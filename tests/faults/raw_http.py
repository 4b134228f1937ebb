"""Raw clients whose requests are never finished."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
from anyio.abc import SocketStream

HEAD = (
    b"POST /events.v1.EventLoggingService/LogEvent HTTP/1.1\r\n"
    b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
)


@asynccontextmanager
async def half_sent_request(port: int) -> AsyncIterator[SocketStream]:
    """A connection on which the head and half of the body were sent."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(HEAD + b'{"eventName": "half')
        yield stream


@asynccontextmanager
async def slow_clients(port: int, *, heads: int, bodies: int) -> AsyncIterator[list[SocketStream]]:
    """Opens `heads` connections with half a head, and `bodies` with a head and the beginning of a body."""
    async with AsyncExitStack() as stack:
        streams: list[SocketStream] = []
        for number in range(heads + bodies):
            stream = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))
            await stream.send(HEAD[:60] if number < heads else HEAD + b"{")
            streams.append(stream)
        yield streams


async def until_closed(stream: SocketStream) -> None:
    """Reads until the other side has closed."""
    try:
        while True:
            await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return

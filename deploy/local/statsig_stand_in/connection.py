"""One HTTP/1.1 connection: httptools parses the requests, each is handed out as an exchange, answers go out in order.

Written by hand because an ASGI application cannot reach its connection: it cannot end one with a TCP reset, and it can
break off a body only by failing. aiohttp's server would give that access, but it would be one more dependency (nothing
else here uses aiohttp) in place of this module alone.
"""

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

import httptools

from deploy.local.statsig_stand_in.wire import BODY_LIMIT, RefusedRequestError, Response, json_response

logger = logging.getLogger(__name__)

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing drops unsent bytes and sends the peer an RST."""


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, transport: asyncio.Transport, gone: asyncio.Event) -> None:
        self._transport = transport
        self._gone = gone
        self._body = bytearray()
        self._too_large = False
        self._target = b""
        self.keep_alive = False
        self.method = ""
        self.path = ""
        self.query: dict[str, str] = {}
        self.headers: dict[str, str] = {}

    def add_target(self, piece: bytes) -> None:
        self._target += piece

    def head_complete(self, method: bytes) -> None:
        self.method = method.decode("ascii")
        target = urlsplit(self._target.decode("latin-1"))
        self.path = target.path
        self.query = {name: values[-1] for name, values in parse_qs(target.query, keep_blank_values=True).items()}

    def add_body(self, piece: bytes) -> None:
        # A body that is too large is still read to its end: a peer that is cut off while it sends loses the answer.
        self._too_large = self._too_large or len(self._body) + len(piece) > BODY_LIMIT
        if not self._too_large:
            self._body += piece

    @property
    def body(self) -> bytes:
        """The whole body.

        Raises:
            RefusedRequestError: it was larger than the limit, and dropped.
        """
        if self._too_large:
            raise RefusedRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {BODY_LIMIT} bytes")
        return bytes(self._body)

    def send(self, response: Response) -> bool:
        """Answer; False if the connection is closing already."""
        return self.write(response.head(keep_alive=self.keep_alive) + response.payload)

    def write(self, piece: bytes) -> bool:
        if self._transport.is_closing():
            return False
        self._transport.write(piece)
        return True

    def reset(self) -> None:
        """End the connection with an RST, unless it is closing already."""
        if self._transport.is_closing():
            return
        peer: socket.socket = self._transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()

    async def peer_gone(self, within: float | None = None) -> bool:
        """Wait up to `within` seconds, or without end, for the connection to close; returns whether it has."""
        try:
            async with asyncio.timeout(within):
                await self._gone.wait()
        except TimeoutError:
            return False
        return True


Responder = Callable[[Exchange], Awaitable[None]]

Router = Callable[[Exchange], Responder]
"""Called when the headers are in; what it returns is called when the body is."""


class Connection(asyncio.Protocol):
    """Keeps reading while a request is served: only a read shows that the peer has closed."""

    def __init__(self, router: Router, connections: set["Connection"], tasks: set[asyncio.Task[None]]) -> None:
        self._router = router
        self._connections = connections
        self._tasks = tasks
        self._parser = httptools.HttpRequestParser(self)
        self._gone = asyncio.Event()
        self._complete: deque[tuple[Exchange, Responder]] = deque()
        self._serving: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._exchange: Exchange
        self._responder: Responder

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a listening TCP socket makes nothing else
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - a peer that is gone is gone
        self._gone.set()
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            refused = json_response(HTTPStatus.BAD_REQUEST, {"success": False, "error": f"not HTTP/1.1: {error}"})
            self._transport.write(refused.head(keep_alive=False) + refused.payload)
            self._transport.close()

    def on_message_begin(self) -> None:
        self._exchange = Exchange(self._transport, self._gone)

    def on_url(self, url: bytes) -> None:
        self._exchange.add_target(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._exchange.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._exchange.head_complete(self._parser.get_method())
        self._responder = self._router(self._exchange)

    def on_body(self, body: bytes) -> None:
        self._exchange.add_body(body)

    def on_message_complete(self) -> None:
        if self._transport.is_closing():
            return
        self._exchange.keep_alive = self._parser.should_keep_alive()
        self._complete.append((self._exchange, self._responder))
        if self._serving is None:
            self._serving = asyncio.get_running_loop().create_task(self._serve())
            self._tasks.add(self._serving)
            self._serving.add_done_callback(self._tasks.discard)

    async def _serve(self) -> None:
        while self._complete:
            exchange, responder = self._complete.popleft()
            try:
                await responder(exchange)
            except Exception:
                logger.exception("a request failed: %s %s", exchange.method, exchange.path)
                exchange.send(
                    json_response(HTTPStatus.INTERNAL_SERVER_ERROR, {"success": False, "error": "see stderr"})
                )
            if not exchange.keep_alive:
                self._transport.close()
        self._serving = None

"""An HTTP/1.1 client that sends raw bytes, several requests on a connection."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

SECONDS = 10.0
"""The timeout of an answer."""

LOG_EVENT = "/events.v1.EventLoggingService/LogEvent"
LOG_EVENTS = "/events.v1.EventLoggingService/LogEvents"
JSON = {"content-type": "application/json"}
PROTO = {"content-type": "application/proto"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def keeps_the_connection(self) -> bool:
        return self.headers.get("connection") != "close"


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, *, receive_bytes: int | None = None) -> Self:
        """`receive_bytes` sets the size of the kernel's receive buffer."""
        peer = socket.socket()
        peer.setblocking(False)
        if receive_bytes is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", port))
        except OSError:
            peer.close()
            raise
        return cls(*await asyncio.open_connection(sock=peer))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def call(
        self,
        body: bytes | dict[str, Any] = b"",
        headers: Mapping[str, str] = JSON,
        *,
        path: str = LOG_EVENT,
        method: str = "POST",
    ) -> Answer:
        await self.send(request(body, headers, path=path, method=method))
        return await self.answer()

    async def answer(self) -> Answer:
        async with asyncio.timeout(SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            if "content-length" in headers:
                body = await self._reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                body = await self._chunks()
            else:
                body = b""
        return Answer(int(status_line.split(" ")[1]), headers, body)

    async def is_closed(self) -> bool:
        """Waits until the server closes; False where it sends something instead.

        Raises:
            TimeoutError: it does neither.
        """
        async with asyncio.timeout(SECONDS):
            try:
                return await self._reader.read(1) == b""
            except ConnectionError:
                return True

    async def rest(self) -> bytes:
        """All bytes until the server closes or resets the connection."""
        found = b""
        try:
            while piece := await self._reader.read(65_536):
                found += piece
        except ConnectionError:
            pass
        return found

    def stop_reading(self) -> None:
        self._writer.transport.pause_reading()  # type: ignore[attr-defined] # of a socket's transport

    def hang_up(self) -> None:
        """Resets the connection."""
        peer: socket.socket = self._writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readline()
        await self._reader.readline()
        return body


def request(
    body: bytes | dict[str, Any], headers: Mapping[str, str] = JSON, *, path: str = LOG_EVENT, method: str = "POST"
) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: test", *(f"{name}: {value}" for name, value in headers.items())]
    if method != "POST":
        content = b""
    else:
        lines.append(f"content-length: {len(content)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def head_of(
    *lines: str,
    path: str = LOG_EVENT,
    method: str = "POST",
    version: str = "1.1",
    content_type: str = JSON["content-type"],
) -> bytes:
    """A head of exactly these lines, with content type and host."""
    first = f"{method} {path} HTTP/{version}"
    return "\r\n".join([first, "host: test", f"content-type: {content_type}", *lines, "", ""]).encode("latin-1")


@asynccontextmanager
async def connection(port: int, *, receive_bytes: int | None = None) -> AsyncIterator[Connection]:
    opened = await Connection.open(port, receive_bytes=receive_bytes)
    try:
        yield opened
    finally:
        await opened.close()

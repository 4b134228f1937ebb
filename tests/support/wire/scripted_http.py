"""A small HTTP/1.1 server that follows a script, down to single bytes and resets of the connection.

It makes failures that a well-behaved server cannot. Each path has its own script, so that several cases can run at once
against one server: `/refusing/v1/log_event` follows the script of `refusing`.
"""

import asyncio
import gzip
import json
import socket
import struct
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

ACCEPTED = b'{"success":true}'

Act = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]

    def json(self) -> Any:
        return json.loads(gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body)


def answer(status: int = 202, body: bytes = ACCEPTED, **headers: str) -> Act:
    """Headers are given as identifiers: `retry_after` becomes `retry-after`."""
    lines = [f"HTTP/1.1 {status} Scripted", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def raw(data: bytes, then: Act | None = None) -> Act:
    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if then is not None:
            await then(writer)

    return act


async def reset(writer: asyncio.StreamWriter) -> None:
    """Resets the connection: lingering zero seconds makes close() discard and reset."""
    peer: socket.socket = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def hang(writer: asyncio.StreamWriter) -> None:
    """Sends nothing until the client gives up or the server stops."""
    await writer.wait_closed()


def drip(gap_seconds: float) -> Act:
    """Sends a correct answer byte by byte: no single read times out."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 Scripted\r\ncontent-length: %d\r\n\r\n" % len(ACCEPTED))
        for byte in ACCEPTED:
            await asyncio.sleep(gap_seconds)
            if writer.is_closing():
                return
            writer.write(bytes([byte]))
            await writer.drain()

    return act


@dataclass
class ScriptedHttp:
    """Takes one act of `scripts[case]` for each request; with none left it accepts."""

    port: int = 0
    scripts: defaultdict[str, deque[Act]] = field(default_factory=lambda: defaultdict(deque))
    received: defaultdict[str, list[Received]] = field(default_factory=lambda: defaultdict(list))
    resets_before_body: set[str] = field(default_factory=set)

    def api_url(self, case: str) -> str:
        return f"http://127.0.0.1:{self.port}/{case}/v1"

    def script(self, case: str, *acts: Act) -> str:
        """Sets the script, and returns the URL of its path."""
        self.scripts[case].extend(acts)
        return self.api_url(case)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                request_line, *header_lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = request_line.split(" ")
                headers = dict(line.lower().split(": ", 1) for line in header_lines if line)
                case = path.split("/")[1]
                early = case in self.resets_before_body
                body = b"" if early else await reader.readexactly(int(headers.get("content-length", "0")))
                self.received[case].append(Received(method, path, headers, body, writer.get_extra_info("peername")))
                act = reset if early else self.scripts[case].popleft() if self.scripts[case] else answer()
                await act(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            writer.close()


@asynccontextmanager
async def scripted_http() -> AsyncIterator[ScriptedHttp]:
    scripted = ScriptedHttp()
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[task] = writer
        await scripted.serve(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        # Not cancelled: asyncio of Python 3.11 logs an error for each connection whose task is.
        for writer in connections.values():
            writer.transport.abort()
        await asyncio.gather(*connections)

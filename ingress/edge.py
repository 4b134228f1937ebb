"""The ASGI edge before connectrpc: health, and the requests that connectrpc 0.13 does not answer well.

- gRPC over a server without HTTP/2 trailers makes it raise, with a stack trace per request: 415 here.
- A header byte that is not UTF-8 makes it answer `unknown` 500: 400 here.
- A client that never finishes its body holds its connection for ever: bounded here.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from ingress.admission import DecodingBudget
from ingress.refusals import Message, Send, completing_refusals
from shared.errors import RequestReadTimeoutError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
ReadinessCheck = Callable[[], Awaitable[bool]]

HEALTH_PATH: Final = "/health"
READY_PATH: Final = "/ready"
"""Not /healthz or /readyz: of paths that end in z Cloud Run keeps some for itself (cloud.google.com/run/docs, known
issues)."""

UNSERVED_CONTENT_TYPES: Final = (b"application/grpc",)
"""A prefix: gRPC and gRPC-Web in all their codecs."""


class Edge:
    """Wraps the RPC application."""

    def __init__(
        self, app: AsgiApp, *, is_ready: ReadinessCheck, read_timeout_seconds: float, decoding: DecodingBudget
    ) -> None:
        self._app = app
        self._decoding = decoding
        self._is_ready = is_ready
        self._read_timeout_seconds = read_timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == HEALTH_PATH:
            await _answer(send, 200, {"status": "ok"})
        elif scope["path"] == READY_PATH:
            if await self._is_ready():
                await _answer(send, 200, {"spanner": "ok"})
            else:
                await _answer(send, 503, {"spanner": "unreachable"})
        elif not _is_text(scope["headers"]):
            await _answer(
                completing_refusals(send), 400, {"code": "invalid_argument", "message": "a header is not valid UTF-8"}
            )
        elif _content_type(scope["headers"]).startswith(UNSERVED_CONTENT_TYPES):
            await _answer(
                completing_refusals(send), 415, {}, [(b"accept-post", b"application/json, application/proto")]
            )
        else:
            await self._serve(scope, receive, completing_refusals(send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        deadline = asyncio.get_running_loop().time() + self._read_timeout_seconds
        complete = timed_out = False

        async def receive_in_time() -> Message:
            nonlocal complete, timed_out
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                timed_out = True
                text = f"the request was not received within {self._read_timeout_seconds:g} s"
                raise RequestReadTimeoutError(text) from None
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def send_and_close(message: Message) -> None:
            # What is left of an unfinished request must not be taken for the next one.
            if timed_out and message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        with self._decoding.call():
            await self._app(scope, receive_in_time, send_and_close)


def _is_text(headers: list[tuple[bytes, bytes]]) -> bool:
    for header in headers:
        for part in header:
            if not part.isascii() and not _is_utf8(part):
                return False
    return True


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _content_type(headers: list[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"content-type":
            return value.lower()
    return b""


async def _answer(
    send: Send, status: int, body: dict[str, str], headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    content = json.dumps(body).encode() if body else b""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(content)).encode()),
                *(headers or []),
            ],
        }
    )
    await send({"type": "http.response.body", "body": content})

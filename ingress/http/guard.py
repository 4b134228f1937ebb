"""The ASGI edge before connectrpc: health, and the requests that connectrpc 0.13 does not answer well.

- gRPC over HTTP/1.1, which has no trailers, and a WebSocket make it raise, with a stack trace each: 415 and 403 here.
- A header byte that is not UTF-8 makes it answer `unknown` 500: 400 here.
- A client that never finishes its body would be waited for as long as it sends something: see `RequestBody`.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from ingress.http.refusals import Send, completing_refusals
from ingress.http.request_body import Discarding, Receive, RequestBody
from shared.process.logs import get_logger

Scope = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
ReadinessCheck = Callable[[], Awaitable[bool]]

HEALTH_PATH: Final = "/health"
READY_PATH: Final = "/ready"
"""Not /healthz or /readyz: of paths that end in z Cloud Run keeps some for itself (cloud.google.com/run/docs, known
issues)."""

TRAILERS: Final = "http.response.trailers"
"""The ASGI extension that gRPC needs: the server has it for HTTP/2."""


_log = get_logger()


class HttpGuard:
    """Wraps the RPC application."""

    def __init__(self, app: AsgiApp, *, is_ready: ReadinessCheck, read_timeout_seconds: float) -> None:
        self._app = app
        self._is_ready = is_ready
        self._read_timeout_seconds = read_timeout_seconds
        self._discarding = Discarding()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        else:
            body = RequestBody(receive, scope, timeout_seconds=self._read_timeout_seconds)
            try:
                await self._serve(scope, body.receive, body.sending(send))
                await body.discard(self._discarding)
            except OSError:
                raise  # the client is gone, as the server says with it
            except Exception:
                _log.exception("request_crashed")  # the server's own line has no severity
                raise

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == HEALTH_PATH:
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
        elif _is_grpc(scope["headers"]) and TRAILERS not in scope.get("extensions", {}):
            await _answer(
                completing_refusals(send), 415, {}, [(b"accept-post", b"application/json, application/proto")]
            )
        else:
            scope.setdefault("root_path", "")  # optional in ASGI, taken for granted by connectrpc
            await self._app(scope, receive, completing_refusals(send))


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


def _is_grpc(headers: list[tuple[bytes, bytes]]) -> bool:
    """In all codecs of gRPC. gRPC-Web needs no trailers."""
    content_type = next((value.lower() for name, value in headers if name == b"content-type"), b"")
    return content_type.startswith(b"application/grpc") and not content_type.startswith(b"application/grpc-web")


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

"""The outermost ASGI application: the health endpoints, and the requests that connectrpc 0.13 does not answer well.

- gRPC over HTTP/1.1, which has no trailers, and a WebSocket make it raise with a stack trace. Here: 415 and 403.
- A header byte that is not UTF-8 makes it answer `unknown` with 500. Here: 400.
- It would wait for a client that never finishes its body as long as bytes arrive. Here: see `RequestBody`.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from ingress.http.discarding import Discarding
from ingress.http.early_answer import EarlyAnswer
from ingress.http.refusals import Send, completing_refusals
from ingress.http.request_body import Receive, RequestBody
from shared.process.logs import get_logger

Scope = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
ReadinessCheck = Callable[[], Awaitable[bool]]

# Not /healthz or /readyz: Cloud Run reserves some paths that end in z (cloud.google.com/run/docs, known issues).
HEALTH_PATH: Final = "/health"
READY_PATH: Final = "/ready"

TRAILERS: Final = "http.response.trailers"
"""The ASGI extension that gRPC needs. The server offers it over HTTP/2."""

_log = get_logger()


class HttpGuard:
    """Wraps the RPC application: answers the health endpoints, bounds the time of a body, logs what crashes."""

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
            answer = EarlyAnswer(body, send, self._discarding)
            try:
                await self._serve(scope, body.receive, answer)
                await answer.end()
            except OSError:
                raise  # how the server reports that the client is gone
            except Exception:
                _log.exception("request_crashed")  # the line that the server logs has no severity
                raise
            finally:
                answer.release()

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
            scope.setdefault("root_path", "")  # optional in ASGI, but connectrpc requires it
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
    """Whether it is gRPC, with any codec. gRPC-Web does not count: it needs no trailers."""
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

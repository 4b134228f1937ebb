"""The head of a request, checked before connectrpc does: its own answers (0.13) repeat the values of headers.

The body of each method is bounded here too, while it arrives (`ingress/http/body_bounds.py`). Requests that connectrpc
would not serve (another path, another HTTP method) are left to it.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from ingress.decoding.budgets import BodyBudget
from ingress.http.body_bounds import BoundedBody, Pace
from ingress.http.refusals import Message, Send
from ingress.http.request_body import declared_length

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_CONTENT_TYPES: Final = (b"application/json", b"application/proto")
_TIMEOUT: Final = re.compile(rb"[0-9]{0,10}")
_GRPC_TIMEOUT: Final = re.compile(rb"[0-9]{1,8}[HMSmun]")

_CHECKS: Final[Mapping[bytes, tuple[Callable[[bytes], object], str]]] = {
    b"connect-protocol-version": (lambda value: value == b"1", "connect-protocol-version must be 1"),
    b"connect-timeout-ms": (_TIMEOUT.fullmatch, "connect-timeout-ms must be a number of at most 10 digits"),
}
"""By header: whether a value will do, and what is answered where it does not."""


class HeadGuard:
    """Wraps connectrpc's application."""

    def __init__(self, app: AsgiApp, *, body_bytes: Mapping[str, int], budget: BodyBudget) -> None:
        """`body_bytes` has the most that a body may have by the method's path, `budget` what all may have together."""
        self._app = app
        self._body_bytes = body_bytes
        self._budget = budget
        self._pace = Pace()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._body_bytes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if limit is None:
            await self._app(scope, receive, send)
            return
        content_type = b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = content_type or value
            elif name == b"grpc-timeout" and not _GRPC_TIMEOUT.fullmatch(value):
                # Refused by connectrpc, as gRPC's clients understand it, with the value in its words.
                scope = {**scope, "headers": [(n, b"?" if n == name else v) for n, v in scope["headers"]]}
            elif name in _CHECKS:
                will_do, text = _CHECKS[name]
                if not will_do(value):
                    await _refuse(send, text)
                    return
        kind = content_type.partition(b";")[0].strip().lower()
        if kind not in _CONTENT_TYPES and not kind.startswith(b"application/grpc"):
            await _answer(send, 415, [(b"accept-post", b", ".join(_CONTENT_TYPES))])
            return
        length = declared_length(scope["headers"])
        body = BoundedBody(receive, limit=limit, length=length, budget=self._budget, pace=self._pace)
        try:
            await self._app(scope, body.receive, send)
        finally:
            body.end()


async def _refuse(send: Send, text: str) -> None:
    body = json.dumps({"code": "invalid_argument", "message": text}).encode()
    await _answer(send, 400, [(b"content-type", b"application/json")], body)


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})

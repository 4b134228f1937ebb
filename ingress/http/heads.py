"""Checks of a request's head before connectrpc sees it, whose own errors (0.13) repeat the values of headers.

Also bounds the body of each method while it arrives (`ingress/http/body_bounds.py`). Requests for another path or with
another HTTP method go to connectrpc unchecked: it refuses them.
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
"""The checks by header: whether a value is valid, and the message if it is not."""


class HeadGuard:
    """Wraps connectrpc's application: checks heads, and bounds bodies."""

    def __init__(self, app: AsgiApp, *, body_bytes: Mapping[str, int], budget: BodyBudget) -> None:
        """`body_bytes`: the largest body by method path. `budget`: for the bodies of all calls in flight together."""
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
                # connectrpc refuses it in the form that gRPC clients understand, but quotes the value: so replace that.
                scope = {**scope, "headers": [(n, b"?" if n == name else v) for n, v in scope["headers"]]}
            elif name in _CHECKS:
                is_valid, problem = _CHECKS[name]
                if not is_valid(value):
                    await _refuse(send, problem)
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

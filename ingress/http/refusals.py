"""Refusals before any interceptor runs: for what is wrong with a request's HTTP head.

The guards (`guard.py`, `heads.py`) and connectrpc 0.13 answer these without our interceptors, so without a request id,
a RequestInfo and a log line. Those are added to the answer on its way out.
"""

import base64
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from ingress.call_context import CallContext
from shared.gen.google.rpc.error_details_pb import RequestInfo
from shared.process.logs import get_logger

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

REQUEST_ID_HEADER: Final = b"x-request-id"
"""Set by AccessLogInterceptor: an answer that has it was seen by the interceptors."""

FIRST_ERROR_STATUS: Final = 400

_log = get_logger()


def completing_refusals(send: Send) -> Send:
    """A `send` that completes an error that no interceptor has seen; everything else passes unchanged."""
    start: Message | None = None
    call: CallContext | None = None

    async def complete(message: Message) -> None:
        nonlocal start, call
        if message["type"] == "http.response.start":
            if message["status"] < FIRST_ERROR_STATUS or any(
                name == REQUEST_ID_HEADER for name, _ in message["headers"]
            ):
                await send(message)
                return
            call = CallContext()
            _log.info("rpc_refused", status=message["status"], request_id=call.request_id)
            start = {**message, "headers": [*message["headers"], (REQUEST_ID_HEADER, call.request_id.encode())]}
        elif start is not None and call is not None:
            # The body of an error comes in one message.
            body = _with_request_info(message["body"], call.request_id) if message.get("body") else b""
            length = [(b"content-length", str(len(body)).encode())]
            headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            await send({**start, "headers": headers + length})
            start = None
            await send({**message, "body": body})
        else:
            await send(message)

    return complete


def _with_request_info(body: bytes, request_id: str) -> bytes:
    error: dict[str, Any] = json.loads(body)
    info = RequestInfo(request_id=request_id)
    error.setdefault("details", []).append(
        {
            "type": "google.rpc.RequestInfo",
            "value": base64.b64encode(info.to_binary()).decode().rstrip("="),  # Connect's details are unpadded
            "debug": {"requestId": request_id},
        }
    )
    return json.dumps(error, ensure_ascii=False).encode()

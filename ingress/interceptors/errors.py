"""ErrorInterceptor: turns every error into a Connect error with `google.rpc` details.

No text of a foreign exception reaches a caller: `ingress/error_codes.py` and CONNECT_MESSAGES word them all.

A metadata interceptor (`on_start`, `on_end`), because those also see what fails before there is a message: a body over
its limit, a client that stops sending. connectrpc 0.13 lets `on_end` replace the error.
"""

from typing import Any, Final

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

from ingress.call_context import CallContext, current_call
from ingress.complaints.noting import Complaints
from ingress.error_codes import to_connect_error
from ingress.reference_cycles import without_frames
from ingress.reporting import Tally
from shared.errors import EventLoggingError, RequestTooLargeError
from shared.gen.google.rpc.error_details_pb import RequestInfo
from shared.process.logs import get_logger

CONNECT_MESSAGES: Final = {
    Code.DEADLINE_EXCEEDED: "the call's deadline passed",
    Code.CANCELED: "the call was cancelled",
    Code.UNIMPLEMENTED: "the body's encoding must be gzip or identity",
}
"""The message for an error of connectrpc's own, whose text may repeat what the caller sent."""

OTHER_MESSAGE: Final = "the request is malformed"
"""The message for any other code of connectrpc's."""

_log = get_logger()


class ErrorInterceptor:
    """Also logs errors that are our fault, and counts calls that failed, for reports and as complaints."""

    def __init__(self, tally: Tally, complaints: Complaints) -> None:
        self._tally = tally
        self._complaints = complaints

    async def on_start(self, ctx: RequestContext[Any, Any]) -> CallContext:
        del ctx
        return current_call()

    async def on_end(self, token: CallContext, ctx: RequestContext[Any, Any], error: Exception | None, /) -> None:
        if error is None:
            return
        del ctx
        token.log_fields |= {"reason": _reason(error)}
        mapped = _mapped(error, token.request_id)
        self._tally.answered((mapped.code,))
        self._complaints.failed(token, error, mapped.code)
        without_frames(error)  # the access log sees the mapped error only
        raise mapped from None


def _mapped(error: Exception, request_id: str) -> ConnectError:
    match error:
        case EventLoggingError():
            mapped = to_connect_error(error, request_id)
            if mapped.code is Code.INTERNAL:
                _log.error("rpc_failed", request_id=request_id, exc_info=error)
            return mapped
        case ConnectError(code=Code.RESOURCE_EXHAUSTED):
            # connectrpc's code for a message over its limit, which a retry does not help. Ours means no room now.
            return to_connect_error(RequestTooLargeError("is larger than allowed"), request_id)
        case ConnectError():
            # connectrpc's own: a deadline, a hang-up, a body that it cannot read.
            message = CONNECT_MESSAGES.get(error.code, OTHER_MESSAGE)
            return ConnectError(error.code, message, [RequestInfo(request_id=request_id)])
        case _:
            _log.error("rpc_crashed", request_id=request_id, exc_info=error)
            return to_connect_error(EventLoggingError(), request_id)


def _reason(error: Exception) -> str:
    match error:
        case EventLoggingError():
            return error.reason
        case ConnectError():
            return "connect"
        case _:
            return "crash"

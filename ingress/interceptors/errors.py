"""Every error becomes a Connect error with `google.rpc` details; no foreign exception's text reaches a caller.

A metadata interceptor, because those also see what fails before a message exists: bytes that do not decode, a body
over the limit, a client that stops sending. connectrpc 0.13 lets `on_end` replace the error.
"""

from typing import Any, Final

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

from ingress.call_context import CallContext, current_call
from ingress.error_codes import to_connect_error
from ingress.reporting import Tally
from shared.errors import EventLoggingError, RequestTooLargeError
from shared.gen.google.rpc.error_details_pb import RequestInfo
from shared.process.logs import get_logger

OWN_WORDS: Final = {
    Code.DEADLINE_EXCEEDED: "the call's deadline passed",
    Code.CANCELED: "the call was cancelled",
    Code.UNIMPLEMENTED: "the body's encoding must be gzip or identity",
}
OTHERWISE: Final = "the request is malformed"

_log = get_logger()


class ErrorInterceptor:
    """Also counts what was answered with an error, for the process's reports."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

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
        raise mapped from None


def _mapped(error: Exception, request_id: str) -> ConnectError:
    match error:
        case EventLoggingError():
            mapped = to_connect_error(error, request_id)
            if mapped.code is Code.INTERNAL:
                _log.error("rpc_failed", request_id=request_id, exc_info=error)
            return mapped
        case ConnectError(code=Code.RESOURCE_EXHAUSTED):
            # Of a message that is larger than it may be, which is never taken; of ours the code means no room now.
            return to_connect_error(RequestTooLargeError("is larger than it may be"), request_id)
        case ConnectError():
            # connectrpc's own: a deadline, a hang-up. Its texts may repeat what the caller sent.
            return ConnectError(error.code, OWN_WORDS.get(error.code, OTHERWISE), [RequestInfo(request_id=request_id)])
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

"""Every error becomes a Connect error with `google.rpc` details; no foreign exception's text reaches a caller.

A metadata interceptor, because those also see what fails before a message exists: bytes that do not decode, a body
over the limit, a client that stops sending. connectrpc 0.13 lets `on_end` replace the error.
"""

from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.request import RequestContext
from protobuf import Message

from ingress.call import Call, current_call
from ingress.error_codes import to_connect_error
from shared.errors import EventLoggingError
from shared.gen.google.rpc.error_details_pb import RequestInfo
from shared.logs import get_logger

_log = get_logger()


class ErrorInterceptor:
    async def on_start(self, ctx: RequestContext[Any, Any]) -> Call:
        del ctx
        return current_call()

    async def on_end(self, token: Call, ctx: RequestContext[Any, Any], error: Exception | None, /) -> None:
        if error is None:
            return
        del ctx
        token.log_fields |= {"reason": _reason(error)}
        raise _mapped(error, token.request_id) from None


def _mapped(error: Exception, request_id: str) -> ConnectError:
    match error:
        case EventLoggingError():
            mapped = to_connect_error(error, request_id)
            if mapped.code is Code.INTERNAL:
                _log.error("rpc_failed", request_id=request_id, exc_info=error)
            return mapped
        case ConnectError():
            # connectrpc's own: a malformed or oversized request, a deadline, a hang-up. Its texts carry no values
            # but those of headers the caller sent.
            details: list[Message | ErrorDetail] = [*error.details, RequestInfo(request_id=request_id)]
            return ConnectError(error.code, error.message, details)
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

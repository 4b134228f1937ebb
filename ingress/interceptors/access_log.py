"""AccessLogInterceptor: begins the call's context, and writes one log line per RPC.

Only the interceptors of telemetry are outside of it, so that it logs the code that the caller gets.
"""

from collections.abc import Callable
from typing import Any

from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

from ingress.call_context import CallContext, begin_call
from ingress.reference_cycles import without_frames
from shared.clock import Clock
from shared.process.logs import get_logger

_log = get_logger()


class AccessLogInterceptor:
    """Logs method, code, latency, caller and what the call's `log_fields` have. Also sets `x-request-id`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def on_start(self, ctx: RequestContext[Any, Any]) -> tuple[CallContext, float]:
        call = begin_call()
        ctx.response_headers["x-request-id"] = call.request_id
        return call, self._clock.monotonic()

    async def on_end(
        self, token: tuple[CallContext, float], ctx: RequestContext[Any, Any], error: Exception | None, /
    ) -> None:
        call, started = token
        code = "ok" if error is None else error.code.value if isinstance(error, ConnectError) else "internal"
        log: Callable[..., None] = _log.error if code == "internal" else _log.info
        log(
            "rpc",
            method=ctx.method.name,
            code=code,
            latency_ms=round((self._clock.monotonic() - started) * 1000, 2),
            caller=call.caller.principal or None,
            caller_source=call.caller.source.value,
            request_id=call.request_id,
            **call.log_fields,
        )
        if error is not None:
            without_frames(error)

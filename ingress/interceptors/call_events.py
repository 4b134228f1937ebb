"""Counts the events of calls by the code that each was answered with. Wired only with telemetry on.

A count of calls would not do: a LogEvents of which every event is refused is itself answered ok. It takes two
interceptors: only the outer one sees the code of a call that failed, and only the inner one sees messages.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from opentelemetry.metrics import Meter

from ingress.decoding.undecoded import DecodedEvents
from shared.gen.events.v1.event_logging_pb import LogEventOutcome, LogEventsResponse
from shared.telemetry.metrics import CALL_EVENTS, counter

REQ = TypeVar("REQ")
RES = TypeVar("RES")

OK: Final = "ok"


@dataclass(slots=True)
class _Seen:
    """The events of the call in progress, as far as the inner interceptor saw them."""

    events: int = 1
    """The number of events. A LogEvents that was not decoded counts as one."""

    codes: dict[str, int] = field(default_factory=dict)
    """Events by code, for a LogEvents that was answered."""


_current: ContextVar[_Seen] = ContextVar("seen")


class CallEventsInterceptor:
    """Counts at the end of a call. To be placed outside of ErrorInterceptor, which sets the codes."""

    def __init__(self, meter: Meter) -> None:
        self._events = counter(meter, CALL_EVENTS)

    async def on_start(self, ctx: RequestContext[Any, Any]) -> _Seen:
        del ctx
        seen = _Seen()
        _current.set(seen)
        return seen

    async def on_end(self, token: _Seen, ctx: RequestContext[Any, Any], error: Exception | None, /) -> None:
        if error is None:
            codes = token.codes or {OK: token.events}
        else:
            codes = {error.code.value if isinstance(error, ConnectError) else "internal": token.events}
        for code, events in codes.items():
            self._events.add(events, {"method": ctx.method.name, "code": code})


class CallMessagesInterceptor:
    """Passes what it sees of a LogEvents to CallEventsInterceptor.

    To be placed behind DecodingInterceptor, whose events it counts, and before validation, which may refuse them.
    """

    async def intercept_unary(
        self,
        call_next: Callable[[REQ, RequestContext[Any, Any]], Awaitable[RES]],
        request: REQ,
        ctx: RequestContext[Any, Any],
        /,
    ) -> RES:
        seen = _current.get()
        if isinstance(request, DecodedEvents):
            seen.events = len(request.events)
        response = await call_next(request, ctx)
        if isinstance(response, LogEventsResponse):
            seen.codes = Counter(map(_code, response.outcomes))
        return response


def _code(outcome: LogEventOutcome) -> str:
    either = outcome.outcome
    return either.value.code if either is not None and either.field == "error" else OK

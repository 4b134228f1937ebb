"""ProtoValidationInterceptor: the rules that proto/ declares, for each event on its own."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from connectrpc.request import RequestContext

from ingress.call_context import current_call
from ingress.decoding.undecoded import DecodedEvents
from ingress.validation import validate
from shared.errors import EventLoggingError
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest

RES = TypeVar("RES")


class ProtoValidationInterceptor:
    async def intercept_unary(
        self,
        call_next: Callable[[Any, RequestContext[Any, Any]], Awaitable[RES]],
        request: Any,
        ctx: RequestContext[Any, Any],
        /,
    ) -> RES:
        if isinstance(request, DecodedEvents):
            await _validate_events(request.events)
            return await call_next(request, ctx)
        await current_call().slices.next_piece()
        validate(request)
        return await call_next(request, ctx)


async def _validate_events(events: list[LogEventRequest | EventLoggingError]) -> None:
    """In place: another list would keep what is let go of one."""
    # The rules of the list alone: how many there may be.
    validate(LogEventsRequest(events=[LogEventRequest()] * len(events)))
    slices = current_call().slices
    for index, event in enumerate(events):
        await slices.next_piece()
        events[index] = _validated(event)


def _validated(event: LogEventRequest | EventLoggingError) -> LogEventRequest | EventLoggingError:
    if isinstance(event, EventLoggingError):
        return event
    try:
        validate(event)
    except EventLoggingError as error:
        return error
    return event

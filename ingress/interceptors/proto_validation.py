"""ProtoValidationInterceptor: checks each event by itself against the rules that proto/ declares."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from connectrpc.request import RequestContext

from ingress.call_context import current_call
from ingress.decoding.undecoded import DecodedEvents
from ingress.reference_cycles import without_frames
from ingress.validation import validate
from shared.errors import EventLoggingError
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest

RES = TypeVar("RES")


class ProtoValidationInterceptor:
    """A LogEvent that breaks a rule fails its call; an event of a LogEvents is replaced by its InvalidEventError."""

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
    """Replace the events that break a rule by their errors. In place: a second list would keep freed events alive."""
    # Checks the number of events alone.
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
        return without_frames(error)
    return event

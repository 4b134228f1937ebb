"""The Connect handler: takes messages apart and puts answers together, nothing else."""

from collections import Counter
from typing import Literal

from connectrpc.request import RequestContext
from protobuf import Oneof

from ingress import error_codes
from ingress.call import current_call
from ingress.service import EventLogging, Logged
from ingress.validation import validate
from shared.errors import EventLoggingError
from shared.gen.events.v1.event_logging_connect import EventLoggingService
from shared.gen.events.v1.event_logging_pb import (
    LogEventError,
    LogEventOutcome,
    LogEventRequest,
    LogEventResponse,
    LogEventsRequest,
    LogEventsResponse,
    Warning,  # noqa: A004 - the message's name
)


class EventLoggingHandler(EventLoggingService):
    """events.v1.EventLoggingService. Raises our errors; an interceptor makes Connect's of them."""

    def __init__(self, service: EventLogging) -> None:
        self._service = service

    async def log_event(
        self, request: LogEventRequest, ctx: RequestContext[LogEventRequest, LogEventResponse], /
    ) -> LogEventResponse:
        del ctx  # what it knows is in the current call
        call = current_call()
        logged = await self._service.log(request, call.caller)
        call.log_fields |= {"event_id": logged.event_id, "duplicate": logged.duplicate}
        return _response(logged)

    async def log_events(
        self, request: LogEventsRequest, ctx: RequestContext[LogEventsRequest, LogEventsResponse], /
    ) -> LogEventsResponse:
        del ctx
        call = current_call()
        outcomes = await self._service.log_many([_validated(event) for event in request.events], call.caller)
        refused = Counter(outcome.reason for outcome in outcomes if isinstance(outcome, EventLoggingError))
        call.log_fields |= {"events": len(outcomes), "refused": dict(refused)}
        return LogEventsResponse(outcomes=[_outcome(outcome, call.request_id) for outcome in outcomes])


def _validated(request: LogEventRequest) -> LogEventRequest | EventLoggingError:
    try:
        validate(request)
    except EventLoggingError as error:
        return error
    return request


def _response(logged: Logged) -> LogEventResponse:
    return LogEventResponse(
        event_id=logged.event_id,
        duplicate=logged.duplicate,
        warnings=[
            Warning(field=loss.field, reason=loss.reason, description=loss.description) for loss in logged.losses
        ],
    )


def _outcome(outcome: Logged | EventLoggingError, request_id: str) -> LogEventOutcome:
    if isinstance(outcome, Logged):
        logged: Oneof[Literal["logged"], LogEventResponse] = Oneof(field="logged", value=_response(outcome))
        return LogEventOutcome(outcome=logged)
    refusal = LogEventError(
        code=error_codes.answer_for(outcome).code.value,
        message=error_codes.message_for(outcome, request_id),
        bad_request=error_codes.bad_request_for(outcome),
        retry_info=error_codes.retry_info_for(outcome),
    )
    error: Oneof[Literal["error"], LogEventError] = Oneof(field="error", value=refusal)
    return LogEventOutcome(outcome=error)

"""A limit: the RPC alone. Decodes the request with the same messages and answers a constant."""

from typing import Final, Literal

from connectrpc.request import RequestContext
from protobuf import Oneof

from shared.gen.events.v1.event_logging_connect import EventLoggingService, EventLoggingServiceASGIApplication
from shared.gen.events.v1.event_logging_pb import (
    LogEventOutcome,
    LogEventRequest,
    LogEventResponse,
    LogEventsRequest,
    LogEventsResponse,
)
from tests.bench.servers.serving import serve

EVENT_ID: Final = "0b7f1f5e-6b0e-4d5c-9a51-3c1c4a4a8f10"


class EchoHandler(EventLoggingService):
    async def log_event(
        self, request: LogEventRequest, ctx: RequestContext[LogEventRequest, LogEventResponse], /
    ) -> LogEventResponse:
        del request, ctx
        return LogEventResponse(event_id=EVENT_ID)

    async def log_events(
        self, request: LogEventsRequest, ctx: RequestContext[LogEventsRequest, LogEventsResponse], /
    ) -> LogEventsResponse:
        del ctx
        return LogEventsResponse(outcomes=[_outcome() for _ in request.events])


def _outcome() -> LogEventOutcome:
    logged: Oneof[Literal["logged"], LogEventResponse] = Oneof(
        field="logged", value=LogEventResponse(event_id=EVENT_ID)
    )
    return LogEventOutcome(outcome=logged)


if __name__ == "__main__":
    serve(EventLoggingServiceASGIApplication(EchoHandler()))

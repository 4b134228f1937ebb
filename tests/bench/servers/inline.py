"""The same RPC without a worker: a commit, then the event to Statsig, then the answer. A thread per call."""

import json
import uuid

import anyio
import anyio.to_thread
from connectrpc.request import RequestContext
from protovalidate import Validator

from shared.gen.events.v1.event_logging_connect import EventLoggingService, EventLoggingServiceASGIApplication
from shared.gen.events.v1.event_logging_pb import (
    LogEventRequest,
    LogEventResponse,
    LogEventsRequest,
    LogEventsResponse,
)
from tests.bench.servers.serving import serve
from tests.bench.servers.statsig_client import send, start_statsig
from tests.bench.servers.textbook import THREADS, SyncEventLog

ABORTED_RETRY_SECONDS = 0.003
"""As in `tuned`, so that this way differs by Statsig's request before the answer only."""


class InlineHandler(EventLoggingService):
    def __init__(self) -> None:
        self._validator = Validator()
        self._threads = anyio.CapacityLimiter(THREADS)
        self._event_log = SyncEventLog(aborted_retry_seconds=ABORTED_RETRY_SECONDS)
        start_statsig()

    async def log_event(
        self, request: LogEventRequest, ctx: RequestContext[LogEventRequest, LogEventResponse], /
    ) -> LogEventResponse:
        del ctx
        self._validator.validate(request)
        event_id = await anyio.to_thread.run_sync(self._log, request, limiter=self._threads)
        return LogEventResponse(event_id=event_id)

    async def log_events(
        self, request: LogEventsRequest, ctx: RequestContext[LogEventsRequest, LogEventsResponse], /
    ) -> LogEventsResponse:
        raise NotImplementedError

    def _log(self, request: LogEventRequest) -> str:
        event_id = str(uuid.uuid4())
        metadata = request.metadata.to_python() if request.metadata else {}
        self._event_log.insert(event_id, request.event_name, json.dumps(metadata))
        send(event_id, request.event_name, {key: str(value) for key, value in metadata.items()})
        return event_id


if __name__ == "__main__":
    serve(EventLoggingServiceASGIApplication(InlineHandler()))

"""The same RPC the way a textbook writes it: the sync Spanner client and the batching publisher, a thread per call.

The same libraries, server, validation and tables, so that a comparison measures the design and nothing else. Serves
until it is killed; `python -m tests.bench.textbook PORT`.
"""

import json
import os
import sys
import uuid
from datetime import UTC, datetime

import anyio.to_thread
import uvicorn
from connectrpc.request import RequestContext
from google.auth.credentials import AnonymousCredentials
from google.cloud import (  # type: ignore[attr-defined] # pubsub_v1 ships without type information
    pubsub_v1,
    spanner,
)

from ingress.validation import validate
from shared.gen.events.v1.event_logging_connect import EventLoggingService, EventLoggingServiceASGIApplication
from shared.gen.events.v1.event_logging_pb import (
    LogEventRequest,
    LogEventResponse,
    LogEventsRequest,
    LogEventsResponse,
)

THREADS = 40
"""anyio's own default for its worker threads."""


class TextbookHandler(EventLoggingService):
    def __init__(self) -> None:
        client = spanner.Client(
            project=os.environ["GOOGLE_CLOUD_PROJECT"],
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": os.environ["SPANNER_EMULATOR_HOST"]},
            disable_builtin_metrics=True,
        )
        self._database = client.instance(os.environ["SPANNER_INSTANCE"]).database(os.environ["SPANNER_DATABASE"])
        self._publisher = pubsub_v1.PublisherClient()
        self._topic = self._publisher.topic_path(os.environ["GOOGLE_CLOUD_PROJECT"], os.environ["FORWARD_TOPIC"])

    async def log_event(
        self, request: LogEventRequest, ctx: RequestContext[LogEventRequest, LogEventResponse], /
    ) -> LogEventResponse:
        del ctx
        validate(request)
        return LogEventResponse(event_id=await anyio.to_thread.run_sync(self._log, request))

    async def log_events(
        self, request: LogEventsRequest, ctx: RequestContext[LogEventsRequest, LogEventsResponse], /
    ) -> LogEventsResponse:
        raise NotImplementedError

    def _log(self, request: LogEventRequest) -> str:
        event_id = str(uuid.uuid4())
        metadata = json.dumps(request.metadata.to_python() if request.metadata else {})
        now = datetime.now(UTC)
        with self._database.batch() as batch:
            batch.insert(
                "NestEventLog",
                ("event_id", "event_name", "event_ts", "ingested_at", "metadata", "forward_to_statsig"),
                [(event_id, request.event_name, now, spanner.COMMIT_TIMESTAMP, metadata, True)],
            )
        message = json.dumps({"event_id": event_id, "event_name": request.event_name, "metadata": metadata})
        self._publisher.publish(self._topic, message.encode(), event_id=event_id).result()
        return event_id


if __name__ == "__main__":
    uvicorn.run(
        EventLoggingServiceASGIApplication(TextbookHandler()),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=False,
        log_level="warning",
        loop="uvloop",
    )

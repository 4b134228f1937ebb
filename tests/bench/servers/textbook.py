"""The same RPC as a textbook writes it: the sync Spanner client and the batching publisher, a thread per call.

The same libraries, server, validation and tables, so that a comparison measures the design and nothing else. Three
settings make it `tuned`.
"""

import json
import os
import uuid
from typing import Any

import anyio
import anyio.to_thread
from connectrpc.request import RequestContext
from google.auth.credentials import AnonymousCredentials
from google.cloud import (  # type: ignore[attr-defined] # pubsub_v1 ships without type information
    pubsub_v1,
    spanner,
)
from protovalidate import Validator

from shared.gen.events.v1.event_logging_connect import EventLoggingService, EventLoggingServiceASGIApplication
from shared.gen.events.v1.event_logging_pb import (
    LogEventRequest,
    LogEventResponse,
    LogEventsRequest,
    LogEventsResponse,
)
from tests.bench.rows import LOG_COLUMNS, LOG_TABLE, log_row
from tests.bench.servers.serving import serve

THREADS = 40
"""anyio's default number of worker threads."""


class SyncEventLog:
    """Writes rows of NestEventLog, each in its own commit."""

    def __init__(self, *, aborted_retry_seconds: float | None) -> None:
        """`aborted_retry_seconds`: None leaves the client's default."""
        client = spanner.Client(
            project=os.environ["GOOGLE_CLOUD_PROJECT"],
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": os.environ["SPANNER_EMULATOR_HOST"]},
            disable_builtin_metrics=True,
        )
        self._database = client.instance(os.environ["SPANNER_INSTANCE"]).database(os.environ["SPANNER_DATABASE"])
        self._retry = {} if aborted_retry_seconds is None else {"default_retry_delay": aborted_retry_seconds}

    def insert(self, event_id: str, event_name: str, metadata: str) -> None:
        with self._database.batch(**self._retry) as batch:
            batch.insert(LOG_TABLE, LOG_COLUMNS, [log_row(event_id, event_name, metadata)])


class TextbookHandler(EventLoggingService):
    def __init__(
        self, *, threads: int, aborted_retry_seconds: float | None, publish_delay_seconds: float | None
    ) -> None:
        """None leaves the client's default."""
        self._validator = Validator()
        self._threads = anyio.CapacityLimiter(threads)
        self._event_log = SyncEventLog(aborted_retry_seconds=aborted_retry_seconds)
        settings: dict[str, Any] = {}
        if publish_delay_seconds is not None:
            settings["batch_settings"] = pubsub_v1.types.BatchSettings(max_latency=publish_delay_seconds)
        self._publisher = pubsub_v1.PublisherClient(**settings)
        self._topic = self._publisher.topic_path(os.environ["GOOGLE_CLOUD_PROJECT"], os.environ["FORWARD_TOPIC"])

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
        metadata = json.dumps(request.metadata.to_python() if request.metadata else {})
        self._event_log.insert(event_id, request.event_name, metadata)
        message = json.dumps({"event_id": event_id, "event_name": request.event_name, "metadata": metadata})
        self._publisher.publish(self._topic, message.encode(), event_id=event_id).result()
        return event_id


def _optional(name: str) -> float | None:
    value = os.environ.get(name)
    return None if value is None else float(value)


if __name__ == "__main__":
    serve(
        EventLoggingServiceASGIApplication(
            TextbookHandler(
                threads=int(os.environ.get("TEXTBOOK_THREADS", THREADS)),
                aborted_retry_seconds=_optional("TEXTBOOK_ABORTED_RETRY_SECONDS"),
                publish_delay_seconds=_optional("TEXTBOOK_PUBLISH_DELAY"),
            )
        )
    )

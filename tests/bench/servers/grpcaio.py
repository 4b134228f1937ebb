"""The same RPC all on one event loop: a commit of the async Spanner client and a publish over grpc.aio for each call.

Nothing is grouped; the call is answered after both.
"""

import json
import os
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from connectrpc.request import RequestContext
from google.auth.credentials import AnonymousCredentials
from google.cloud.spanner_v1 import AsyncClient
from google.pubsub_v1 import PublisherAsyncClient, PubsubMessage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from protovalidate import Validator

from deploy.local.emulators import local_channel
from shared.gen.events.v1.event_logging_connect import EventLoggingService, EventLoggingServiceASGIApplication
from shared.gen.events.v1.event_logging_pb import (
    LogEventRequest,
    LogEventResponse,
    LogEventsRequest,
    LogEventsResponse,
)
from tests.bench.rows import LOG_COLUMNS, LOG_TABLE, log_row
from tests.bench.servers.serving import serve

ABORTED_RETRY_SECONDS = 0.003
"""As in `tuned`: without it the client sleeps for two seconds after the emulator aborts a commit."""


class GrpcAioHandler(EventLoggingService):
    def __init__(self, database: Any, publisher: PublisherAsyncClient) -> None:
        self._validator = Validator()
        self._database = database
        self._publisher = publisher
        self._topic = PublisherAsyncClient.topic_path(os.environ["GOOGLE_CLOUD_PROJECT"], os.environ["FORWARD_TOPIC"])

    async def log_event(
        self, request: LogEventRequest, ctx: RequestContext[LogEventRequest, LogEventResponse], /
    ) -> LogEventResponse:
        del ctx
        self._validator.validate(request)
        event_id = str(uuid.uuid4())
        metadata = json.dumps(request.metadata.to_python() if request.metadata else {})
        async with self._database.batch(default_retry_delay=ABORTED_RETRY_SECONDS) as batch:
            batch.insert(LOG_TABLE, LOG_COLUMNS, [log_row(event_id, request.event_name, metadata)])
        data = json.dumps({"event_id": event_id, "event_name": request.event_name, "metadata": metadata}).encode()
        message = PubsubMessage(data=data, attributes={"event_id": event_id})
        await self._publisher.publish(topic=self._topic, messages=[message])
        return LogEventResponse(event_id=event_id)

    async def log_events(
        self, request: LogEventsRequest, ctx: RequestContext[LogEventsRequest, LogEventsResponse], /
    ) -> LogEventsResponse:
        raise NotImplementedError


async def handler() -> AsyncGenerator[GrpcAioHandler, None]:
    """Opens the clients for the life of the server, to whose loop they belong."""
    client = AsyncClient(
        project=os.environ["GOOGLE_CLOUD_PROJECT"],
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": os.environ["SPANNER_EMULATOR_HOST"]},
        disable_builtin_metrics=True,
    )
    database = await client.instance(os.environ["SPANNER_INSTANCE"]).database(os.environ["SPANNER_DATABASE"])
    async with local_channel(os.environ["PUBSUB_EMULATOR_HOST"]) as channel:
        yield GrpcAioHandler(database, PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel)))


if __name__ == "__main__":
    serve(EventLoggingServiceASGIApplication(handler()))

"""The product's own clients, opened with the settings of a measure's processes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from google.pubsub_v1 import PublisherAsyncClient

from shared.events.event_log import EventLogRepository
from shared.process.settings import Settings, from_environment
from shared.pubsub import Publisher, PubSubPublisher, open_publisher_client, topic_path
from shared.spanner.connection import open_database
from shared.spanner.event_log import SpannerEventLogRepository

TIMEOUT_SECONDS: Final = 60.0
"""The timeout of a commit or publish: long, since filling is not measured."""


def settings(environ: Mapping[str, str]) -> Settings:
    """Raises: SettingsError."""
    return from_environment(Settings, environ)


def opened_database(environ: Mapping[str, str]) -> AbstractAsyncContextManager[Any]:
    return open_database(settings(environ))


def opened_publisher(environ: Mapping[str, str]) -> AbstractAsyncContextManager[PublisherAsyncClient]:
    return open_publisher_client(settings(environ))


@asynccontextmanager
async def opened_event_log(environ: Mapping[str, str]) -> AsyncIterator[EventLogRepository]:
    async with opened_database(environ) as database:
        yield SpannerEventLogRepository(database, timeout_seconds=TIMEOUT_SECONDS)


@asynccontextmanager
async def opened_forward_topic(environ: Mapping[str, str]) -> AsyncIterator[Publisher]:
    topic = topic_path(settings(environ), environ["FORWARD_TOPIC"])
    async with opened_publisher(environ) as client:
        yield PubSubPublisher(client, topic=topic, timeout_seconds=TIMEOUT_SECONDS)

"""The ingress in this process: production's application and server, on a real socket.

async with running_ingress(environment, COMMIT_TIMEOUT_SECONDS="0.3") as ingress:
    async with EventLoggingServiceClient(ingress.url) as client: ...
"""

import asyncio
import io
import json
import logging
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from google.cloud.spanner_v1 import KeySet
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from deploy.local.emulators import local_channel
from ingress.app import create_app
from ingress.http.guard import AsgiApp
from ingress.http.listener import open_listener
from ingress.http.server import server_on
from shared.process.logs import NOISY_LIBRARIES, configure_logging
from shared.process.settings import IngressSettings, from_environment
from shared.spanner.connection import open_database
from shared.spanner.event_log import LOG_COLUMNS
from shared.telemetry.providers import Telemetry

START_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Ingress:
    port: int
    settings: IngressSettings

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def running_ingress(
    environment: Mapping[str, str],
    *,
    telemetry: Telemetry | None = None,
    around: Callable[[AsgiApp], AsgiApp] = lambda app: app,
    **overrides: str,
) -> AsyncIterator[Ingress]:
    """Serve in this event loop; the end drains calls, as a SIGTERM does.

    `around` wraps the application. `overrides` are environment variables.
    """
    settings = from_environment(IngressSettings, {"HOST": "127.0.0.1", "PORT": "0", **environment, **overrides})
    with open_listener(settings) as listening:
        server = server_on(listening, around(create_app(settings, telemetry)), settings)
        serving = asyncio.create_task(server.serve())
        try:
            async with asyncio.timeout(START_SECONDS):
                await server.wait_started()
            yield Ingress(listening.getsockname()[1], settings)
        finally:
            server.shutdown()
            await serving


class Store:
    """The rows, ledger rows and messages that the ingress wrote, read from Spanner and Pub/Sub."""

    def __init__(self, database: Any, subscriber: SubscriberAsyncClient, subscription: str) -> None:
        self._database = database
        self._subscriber = subscriber
        self._subscription = subscription

    async def rows(self, where: str = "TRUE") -> list[dict[str, Any]]:
        """Rows of NestEventLog with the state of their ledger row, None where there is none."""
        columns = tuple(column for column in LOG_COLUMNS if column != "ingested_at")
        query = f"""
            SELECT {", ".join(f"e.{column}" for column in columns)}, f.state
            FROM NestEventLog AS e LEFT JOIN NestEventForward AS f ON f.event_id = e.event_id
            WHERE {where} ORDER BY e.ingested_at"""  # noqa: S608 - a test's own condition
        async with self._database.snapshot() as snapshot:
            found = [row async for row in await snapshot.execute_sql(query)]
        return [dict(zip((*columns, "state"), row, strict=True)) for row in found]

    async def event_ids(self) -> set[str]:
        """Of all rows, however many: a query for all of some hundred thousand exceeds the emulator's memory."""
        async with self._database.snapshot() as snapshot:
            return {row[0] async for row in await snapshot.read("NestEventLog", ("event_id",), KeySet(all_=True))}

    async def row(self, event_id: str) -> dict[str, Any]:
        (found,) = await self.rows(f"e.event_id = '{event_id}'")
        return found

    async def until_rows(self, count: int, *, seconds: float = 10.0) -> list[dict[str, Any]]:
        """Waits for `count` rows, for callers that did not wait for their answer.

        Raises:
            TimeoutError: there are fewer.
        """
        async with asyncio.timeout(seconds):
            while len(found := await self.rows()) < count:
                await asyncio.sleep(0.02)
        return found

    async def messages(self, *, expected: int, patience_seconds: float = 5.0) -> list[str]:
        """The event_ids of messages on the forward topic: pulls until there are `expected` ones or patience ends."""
        found: list[str] = []
        end = time.monotonic() + patience_seconds
        while len(found) < expected and time.monotonic() < end:
            pulled = await self._pull()
            found += pulled
            if not pulled:
                await asyncio.sleep(0.02)
        return found

    async def no_messages(self) -> bool:
        """Whether the forward subscription has no message."""
        return await self._pull() == []

    async def _pull(self) -> list[str]:
        """Pulls without waiting: a waiting pull that is given up could still take later messages."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of return_immediately, for the reason above
            answer = await self._subscriber.pull(
                subscription=self._subscription, max_messages=1000, return_immediately=True, timeout=5
            )
        if answer.received_messages:
            ids = [received.ack_id for received in answer.received_messages]
            await self._subscriber.acknowledge(subscription=self._subscription, ack_ids=ids)
        return [received.message.attributes["event_id"] for received in answer.received_messages]


@asynccontextmanager
async def open_store(environment: Mapping[str, str]) -> AsyncIterator[Store]:
    """Opens a Store on the emulators of `environment`, past any proxy of the ingress."""
    settings = from_environment(IngressSettings, environment)
    subscription = SubscriberAsyncClient.subscription_path(
        settings.google_cloud_project, environment["FORWARD_SUBSCRIPTION"]
    )
    async with open_database(settings) as database, local_channel(environment["PUBSUB_EMULATOR_HOST"]) as channel:
        subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        yield Store(database, subscriber, subscription)


class LogLines:
    """The log of the process, as text and as data."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def lines(self, message: str | None = None) -> list[dict[str, Any]]:
        parsed: list[dict[str, Any]] = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in parsed if message in (None, line["message"])]


@contextmanager
def captured_log(level: str = "DEBUG") -> Iterator[LogLines]:
    """Configures the log as `python -m ingress` does, into memory, and restores it afterwards."""
    root = logging.getLogger()
    handlers, root_level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in NOISY_LIBRARIES}
    stream = io.StringIO()
    try:
        configure_logging(process="ingress", log_format="json", level=level, stream=stream)
        # A cached logger would outlive this configuration.
        structlog.configure(cache_logger_on_first_use=False)
        yield LogLines(stream)
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(root_level)
        for name, one in levels.items():
            logging.getLogger(name).setLevel(one)

"""The composition root of the ingress: the one place that knows concrete classes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio
import stamina

from ingress.callers.backpressure import Gate
from ingress.callers.rate_limits import CallerRates
from ingress.commit.forward_publisher import ForwardPublisher
from ingress.commit.group_commit import GroupCommitter, Limits
from ingress.normalization import Defaults
from ingress.readiness import Readiness
from ingress.reporting import CountingRepository, Tally
from ingress.service import EventLogging
from ingress.telemetry import ObservedEventLogRepository, observe_state
from shared.clock import SystemClock
from shared.errors import StorageUnavailableError
from shared.process.logs import get_logger
from shared.process.process_states import Role
from shared.process.reporting import Reporting
from shared.process.settings import IngressSettings
from shared.pubsub import Publisher, PubSubPublisher, open_publisher_client, topic_path
from shared.spanner.connection import open_database
from shared.spanner.event_log import EventLogRepository, SpannerEventLogRepository
from shared.spanner.process_states import SpannerProcessStates
from shared.spanner.schema import check_schema
from shared.telemetry.providers import Telemetry
from shared.telemetry.publishing import ObservedPublisher
from shared.telemetry.tracing import untraced

START_PATIENCE_SECONDS: Final = 30.0
"""How long a start waits for Spanner: long enough for a blip, short enough for a start-up probe to see the rest."""

SETTLE_SECONDS: Final = 1.5
"""For commits and publishes that outlive their calls when the process ends; Cloud Run kills 10 s after SIGTERM."""


PATIENCE_MARGIN_SECONDS: Final = 0.5
"""Beyond the bound of a commit: its own answer says more than that the caller waited long enough."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Runtime:
    service: EventLogging
    readiness: Readiness


@asynccontextmanager
async def open_runtime(
    settings: IngressSettings,
    telemetry: Telemetry | None = None,
    tally: Tally | None = None,
    gate: Gate | None = None,
) -> AsyncIterator[Runtime]:
    """Open the clients, check the schema, yield the service, end what is left.

    Holds a task group open: enter and leave it in one task.

    Raises:
        SchemaMismatchError: the database is not the one this code was written for.
        StorageUnavailableError: Spanner did not answer within START_PATIENCE_SECONDS.
    """
    clock = SystemClock()
    tally = tally or Tally()
    async with (
        open_database(settings, telemetry) as database,
        open_publisher_client(settings) as publisher_client,
    ):
        async for attempt in stamina.retry_context(
            on=StorageUnavailableError, attempts=None, timeout=START_PATIENCE_SECONDS
        ):
            with attempt, untraced():
                await check_schema(database, timeout_seconds=settings.commit_timeout_seconds)
        async with anyio.create_task_group() as tasks:
            topic = topic_path(settings, settings.forward_topic)
            repository: EventLogRepository = SpannerEventLogRepository(
                database, timeout_seconds=settings.commit_timeout_seconds, shards=settings.forward_shards
            )
            publisher: Publisher = PubSubPublisher(
                publisher_client, topic=topic, timeout_seconds=settings.publish_timeout_seconds
            )
            if telemetry is not None:
                repository = ObservedEventLogRepository(repository, telemetry)
                publisher = ObservedPublisher(publisher, telemetry, topic="forward", role="ingress")
            forward_publisher = ForwardPublisher(publisher, clock, task_group=tasks)
            committer = GroupCommitter(
                repository=CountingRepository(repository, tally),
                publisher=forward_publisher,
                limits=Limits(
                    concurrency=_commit_concurrency(settings),
                    rows=settings.commit_rows,
                    queue_rows=settings.commit_queue_rows,
                    queue_bytes=settings.commit_queue_bytes,
                    patience_seconds=settings.commit_timeout_seconds + PATIENCE_MARGIN_SECONDS,
                ),
                task_group=tasks,
                gate=gate,
            )
            if telemetry is not None:
                observe_state(telemetry, committer, forward_publisher)
            defaults = Defaults(
                forward_to_statsig=settings.forward_by_default, max_metadata_bytes=settings.max_metadata_bytes
            )
            stopping = anyio.Event()
            reporting = Reporting(
                states=SpannerProcessStates(database, timeout_seconds=settings.commit_timeout_seconds),
                role=Role.INGRESS,
                look=tally.taken,
                clock=clock,
                stopping=stopping,
            )
            with untraced():
                tasks.start_soon(reporting.run_until_stopped)
            _log.info("ingress_started", process_id=reporting.process_id)
            yield Runtime(
                service=EventLogging(
                    committer=committer,
                    rates=CallerRates(settings.caller_events_per_second, clock),
                    clock=clock,
                    defaults=defaults,
                ),
                readiness=Readiness(database),
            )
            stopping.set()
            committer.drain()
            tasks.cancel_scope.deadline = anyio.current_time() + SETTLE_SECONDS


def _commit_concurrency(settings: IngressSettings) -> int:
    """As it was set; where it was not, one on an emulator.

    That works on one commit at a time and aborts the others: with four in flight it writes half as much, and a lone
    event's commit takes a second now and then.
    """
    is_set = "commit_concurrency" in settings.model_fields_set
    return 1 if settings.spanner_emulator_host and not is_set else settings.commit_concurrency

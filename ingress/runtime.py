"""The composition root behind the handler: opens Spanner and Pub/Sub, and wires the use case to its adapters.

What stands before the handler is put together in `ingress/app.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio

from ingress.callers.backpressure import Gate
from ingress.callers.rate_limits import CallerRates
from ingress.commit.forward_publisher import ForwardPublisher
from ingress.commit.group_commit import GroupCommitter, Limits
from ingress.complaints.hourly import HourlyComplaints
from ingress.complaints.writing import ComplaintWriter
from ingress.free_memory import give_back_until
from ingress.normalization import Defaults
from ingress.readiness import Readiness
from ingress.reporting import CountingRepository, Tally
from ingress.service import EventLogging
from ingress.telemetry import ObservedEventLogRepository, observe_state
from shared.clock import Clock, SystemClock
from shared.events.event_log import EventLogRepository
from shared.process.current_rules import CurrentRules
from shared.process.logs import get_logger
from shared.process.process_states import Role
from shared.process.reporting import Reporting
from shared.process.settings import IngressSettings
from shared.pubsub import Publisher, PubSubPublisher, open_publisher_client, topic_path
from shared.spanner.complaints import SpannerComplaintTable
from shared.spanner.connection import open_database
from shared.spanner.event_log import SpannerEventLogRepository
from shared.spanner.process_states import SpannerProcessStates
from shared.spanner.rules import SpannerRuleTable
from shared.spanner.schema import await_schema
from shared.spanner.transactions import Transactions
from shared.telemetry.providers import Telemetry
from shared.telemetry.publishing import ObservedPublisher
from shared.telemetry.tracing import untraced

DRAIN_SECONDS: Final = 1.5
"""How long commits and publishes may go on once no call is left. Cloud Run kills a process 10 s after SIGTERM."""

PATIENCE_MARGIN_SECONDS: Final = 0.5
"""How much longer a call waits than its commit may take: the commit's own error says more than a timeout would."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the handler and the health endpoint need."""

    service: EventLogging
    readiness: Readiness


@asynccontextmanager
async def open_runtime(
    settings: IngressSettings,
    telemetry: Telemetry | None = None,
    tally: Tally | None = None,
    gate: Gate | None = None,
    complaints: HourlyComplaints | None = None,
) -> AsyncIterator[Runtime]:
    """Open the clients, check the schema, yield the runtime; then drain the committer and close the clients.

    Holds a task group open: enter and leave it in one task. Leaving waits at most DRAIN_SECONDS for commits and
    publishes in flight. Long because it opens, runs and closes everything in order.

    Raises:
        SchemaMismatchError: the database is not the one this code was written for.
        StorageUnavailableError: Spanner did not answer in time (shared/spanner/schema.py).
    """
    clock = SystemClock()
    tally = tally or Tally()
    async with open_database(settings, telemetry) as database, open_publisher_client(settings) as client:
        with untraced():
            await await_schema(database, timeout_seconds=settings.commit_timeout_seconds)
            rules = await _loaded_rules(database, settings, clock)
        async with anyio.create_task_group() as tasks:
            publisher = ForwardPublisher(_publisher(client, settings, telemetry), clock, task_group=tasks)
            repository = CountingRepository(_repository(database, settings, telemetry), tally)
            committer = GroupCommitter(
                repository=repository, publisher=publisher, limits=_limits(settings), task_group=tasks, gate=gate
            )
            if telemetry is not None:
                observe_state(telemetry, committer, publisher)
            stopping = anyio.Event()
            states = SpannerProcessStates(database, timeout_seconds=settings.commit_timeout_seconds)
            writer = ComplaintWriter(
                complaints or HourlyComplaints(clock),
                SpannerComplaintTable(database, timeout_seconds=settings.commit_timeout_seconds),
            )
            reporting = Reporting(
                states=states,
                role=Role.INGRESS,
                look=tally.taken,
                clock=clock,
                stopping=stopping,
                beside=writer.write,
            )
            with untraced():
                tasks.start_soon(reporting.run_until_stopped)
                tasks.start_soon(rules.refresh_until, stopping)
            tasks.start_soon(give_back_until, stopping)
            _log.info("ingress_started", process_id=reporting.process_id)
            yield Runtime(service=_service(committer, rules, settings, clock), readiness=Readiness(database))
            stopping.set()
            committer.drain()
            tasks.cancel_scope.deadline = anyio.current_time() + DRAIN_SECONDS


async def _loaded_rules(database: Any, settings: IngressSettings, clock: Clock) -> CurrentRules:
    # The ingress writes no rule, so the emulator's lock on transactions is not needed here.
    transactions = Transactions(database, one_at_a_time=False)
    rules = CurrentRules(SpannerRuleTable(transactions, timeout_seconds=settings.commit_timeout_seconds), clock)
    await rules.load()
    return rules


def _repository(database: Any, settings: IngressSettings, telemetry: Telemetry | None) -> EventLogRepository:
    repository = SpannerEventLogRepository(
        database, timeout_seconds=settings.commit_timeout_seconds, shards=settings.forward_shards
    )
    return repository if telemetry is None else ObservedEventLogRepository(repository, telemetry)


def _publisher(client: Any, settings: IngressSettings, telemetry: Telemetry | None) -> Publisher:
    topic = topic_path(settings, settings.forward_topic)
    publisher = PubSubPublisher(client, topic=topic, timeout_seconds=settings.publish_timeout_seconds)
    if telemetry is None:
        return publisher
    return ObservedPublisher(publisher, telemetry, topic="forward", role="ingress")


def _service(committer: GroupCommitter, rules: CurrentRules, settings: IngressSettings, clock: Clock) -> EventLogging:
    return EventLogging(
        committer=committer,
        rates=CallerRates(settings.caller_events_per_second, clock),
        clock=clock,
        rules=rules,
        defaults=Defaults(
            forward_to_statsig=settings.forward_by_default, max_metadata_bytes=settings.max_metadata_bytes
        ),
    )


def _limits(settings: IngressSettings) -> Limits:
    return Limits(
        concurrency=_commit_concurrency(settings),
        rows=settings.commit_rows,
        queue_rows=settings.commit_queue_rows,
        queue_bytes=settings.commit_queue_bytes,
        patience_seconds=settings.commit_timeout_seconds + PATIENCE_MARGIN_SECONDS,
    )


def _commit_concurrency(settings: IngressSettings) -> int:
    """COMMIT_CONCURRENCY as set; if unset, 1 on an emulator.

    The emulator works on one commit at a time and aborts the others: with four in flight it writes half as much, and a
    lone event's commit takes a second now and then.
    """
    is_set = "commit_concurrency" in settings.model_fields_set
    return 1 if settings.spanner_emulator_host and not is_set else settings.commit_concurrency

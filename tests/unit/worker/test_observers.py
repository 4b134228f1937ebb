"""The observers around publisher, Statsig sink, subscription, circuit and dead letters: they change nothing."""

from collections.abc import Iterable
from datetime import UTC, datetime

import anyio
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from ingress.telemetry import ObservedEventLogRepository
from shared.errors import PublishFailedError, RowExistsError
from shared.events.dead_letter_table import Closing
from shared.events.forward_ledger import DeliveryRecord
from shared.events.forward_message import OutgoingMessage
from shared.events.statsig_projection import StatsigEvent, project
from shared.telemetry.metrics import (
    ATTEMPTS,
    CIRCUIT_OPEN,
    COMMIT_DURATION,
    COMMIT_ROWS,
    FORWARD_DELAY,
    METRICS,
    PUBLISH_DURATION,
    PUBLISHED,
    REQUEST_DURATION,
    MetricKind,
)
from shared.telemetry.publishing import ObservedPublisher
from shared.traceparent import TRACEPARENT
from tests.support.fakes.memory_dead_letter_table import MemoryDeadLetterTable
from tests.support.fakes.scripted_forwarder import UNAVAILABLE
from tests.support.fakes.worker_world import WorkerWorld
from tests.support.sample_events import sample_event, sample_row
from tests.support.telemetry import MemoryTelemetry
from worker.dead_letter_messages import read_dead_letter
from worker.dead_letter_publisher import REASON_ATTRIBUTE
from worker.disposition import Disposition
from worker.subscription import ReceivedMessage
from worker.telemetry.batches import ObservedBatchHandler
from worker.telemetry.requests import ObservedStatsigForwarder
from worker.telemetry.states import MAX_REASONS, OpenDeadLetters, observe_circuit

AT = datetime(2023, 1, 1, tzinfo=UTC)

API_URL = "https://statsig.example/v1"


@pytest.fixture
def memory() -> MemoryTelemetry:
    return MemoryTelemetry()


@pytest.fixture
def world() -> WorkerWorld:
    return WorkerWorld()


def attempts(event_ids: Iterable[str]) -> list[DeliveryRecord]:
    return [DeliveryRecord(event_id, 1, 0, None, "http_202", 202, ()) for event_id in event_ids]


def statsig_event(traceparent: str | None = None) -> StatsigEvent:
    return project(sample_event(traceparent=traceparent)).event


def test_every_metric_has_one_definition_that_says_what_it_is() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.meaning.endswith("."), metric.name
        assert metric.unit, metric.name
        assert metric.kind is MetricKind.HISTOGRAM or metric.boundaries is None, metric.name


async def test_a_commit_is_measured_with_its_outcome_and_what_it_raises_is_raised(
    memory: MemoryTelemetry, world: WorkerWorld
) -> None:
    repository = ObservedEventLogRepository(world.repository, memory.telemetry)
    row = sample_row(sample_event(traceparent=memory.traceparent()))

    await repository.append([row, sample_row()])
    with pytest.raises(RowExistsError):
        await repository.append([row])

    assert sorted(memory.points(COMMIT_DURATION), key=str) == [
        ({"outcome": "ok"}, 1),
        ({"outcome": "row_exists"}, 1),
    ]
    assert memory.points(COMMIT_ROWS) == [({}, 2)]
    assert [span.status.status_code for span in memory.spans] == [StatusCode.UNSET, StatusCode.ERROR]


async def test_a_published_message_continues_its_trace_from_the_publish(
    memory: MemoryTelemetry, world: WorkerWorld
) -> None:
    publisher = ObservedPublisher(world.topic, memory.telemetry, topic="forward", role="ingress")
    given = memory.traceparent()

    await publisher.publish([OutgoingMessage(b"1", {TRACEPARENT: given, "a": "b"}), OutgoingMessage(b"2", {"c": "d"})])

    traced, untraced = world.topic.published
    (span,) = memory.spans
    assert span.context is not None
    assert span.kind is SpanKind.PRODUCER
    assert traced.attributes == {
        TRACEPARENT: f"{given[:35]}-{span.context.span_id:016x}-01",
        "a": "b",
    }
    assert untraced.attributes == {"c": "d"}
    assert memory.points(PUBLISHED) == [({"topic": "forward", "publisher": "ingress"}, 2)]


async def test_a_publish_that_fails_is_not_counted_as_published(memory: MemoryTelemetry, world: WorkerWorld) -> None:
    world.dead_letter_topic.failures.fail_next("publish", PublishFailedError("no"))
    publisher = ObservedPublisher(world.dead_letter_topic, memory.telemetry, topic="dead_letter", role="worker")

    with pytest.raises(PublishFailedError):
        await publisher.publish([OutgoingMessage(b"1", {})])

    assert memory.points(PUBLISHED) == []
    assert memory.points(PUBLISH_DURATION) == [({"topic": "dead_letter", "outcome": "publish_failed"}, 1)]


async def test_each_event_of_a_request_has_its_attempt_counted_and_traced(
    memory: MemoryTelemetry, world: WorkerWorld
) -> None:
    forwarder = ObservedStatsigForwarder(world.forwarder, memory.telemetry, api_url=API_URL)
    world.forwarder.script.append(UNAVAILABLE)
    events = [statsig_event(memory.traceparent()), statsig_event()]

    failed = await forwarder.send(events)
    confirmed = await forwarder.send(events)

    assert {outcome.reason for outcome in failed.values()} == {"http_503"}
    assert confirmed.keys() == {event.event_id for event in events}
    assert sorted(memory.points(ATTEMPTS), key=str) == [
        ({"verdict": "ambiguous", "reason": "http_503"}, 2),
        ({"verdict": "confirmed", "reason": "http_202"}, 2),
    ]
    assert len(memory.points(REQUEST_DURATION)) == 2
    assert [(dict(span.attributes or {}), span.status.status_code) for span in memory.spans] == [
        (
            {
                "server.address": "statsig.example",
                "event_log.events": 2,
                "event_log.event_id": events[0].event_id,
                "event_log.verdict": verdict,
                "event_log.reason": f"http_{status}",
                "http.response.status_code": status,
            },
            code,
        )
        for verdict, status, code in (
            ("ambiguous", 503, StatusCode.ERROR),
            ("confirmed", 202, StatusCode.OK),
        )
    ]


async def test_an_attempt_that_is_cancelled_counts_as_ambiguous(memory: MemoryTelemetry, world: WorkerWorld) -> None:
    forwarder = ObservedStatsigForwarder(world.forwarder, memory.telemetry, api_url=API_URL)
    world.forwarder.failures.hold("send")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forwarder.send, [statsig_event(memory.traceparent())])
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert memory.points(ATTEMPTS) == [({"verdict": "ambiguous", "reason": "CancelledError"}, 1)]
    assert [span.status.status_code for span in memory.spans] == [StatusCode.ERROR]


async def test_a_pulled_message_is_a_span_and_its_delay_counts_once_it_is_done_with(
    memory: MemoryTelemetry, world: WorkerWorld
) -> None:
    event = sample_event(traceparent=memory.traceparent())
    await world.repository.append([sample_row(event)])
    await world.publish([event, sample_event()])  # the second one has no row, and comes again
    messages = await world.pull()

    dispositions = await ObservedBatchHandler(world.forwarding.forward, memory.telemetry)(messages)

    (span,) = memory.spans
    assert span.attributes is not None
    assert span.attributes["event_log.event_id"] == event.event_id
    assert span.attributes["event_log.disposition"] == Disposition.ACK
    assert sorted(dispositions.values()) == [Disposition.ACK, Disposition.NACK]
    assert memory.points(FORWARD_DELAY) == [({}, 1)]


def test_the_circuit_shows_whether_it_is_open_and_why(memory: MemoryTelemetry, world: WorkerWorld) -> None:
    observe_circuit(memory.telemetry, world.circuit)
    closed = memory.points(CIRCUIT_OPEN)
    world.open_circuit()
    opened = memory.points(CIRCUIT_OPEN)

    assert closed == [({"reason": ""}, 0)]
    assert ({"reason": "http_503"}, 1) in opened


async def test_open_dead_letters_are_told_by_reason_and_what_is_gone_as_nothing(world: WorkerWorld) -> None:
    table = MemoryDeadLetterTable(world.store)
    opened = OpenDeadLetters(table)
    assert opened.by_reason() is None
    await opened.refresh()
    assert opened.by_reason() == {"": 0}

    messages = [ReceivedMessage("", str(n), b"x", {REASON_ATTRIBUTE: f"r{n // 2}"}, AT, 0) for n in range(60)]
    await table.collect([read_dead_letter(message) for message in messages])
    await opened.refresh()
    found = opened.by_reason() or {}
    assert sum(found.values()) == 60
    assert (len(found), found["other"]) == (MAX_REASONS + 1, 20)

    await table.close([read_dead_letter(message).subject for message in messages], Closing.DISCARDED)
    await opened.refresh()
    assert set((opened.by_reason() or {}).values()) == {0}
    await opened.refresh()
    assert opened.by_reason() == {"": 0}

"""What stands around the ports and measures: it changes nothing, and tells failures as they are."""

from collections.abc import Iterable
from datetime import UTC, datetime

import anyio
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from ingress.telemetry import ObservedEventLogRepository
from shared.errors import PublishFailedError, RowExistsError, StorageRejectedError, StorageUnavailableError
from shared.events.dead_letter_table import Closing
from shared.events.forward_ledger import DeliveryRecord
from shared.events.forward_message import OutgoingMessage
from shared.events.statsig_projection import StatsigEvent, project
from shared.telemetry.metrics import (
    ATTEMPTS,
    CIRCUIT_OPEN,
    CLAIMED,
    COMMIT_DURATION,
    COMMIT_ROWS,
    DELIVERY_DELAY,
    FORWARD_DELAY,
    LEDGER_DURATION,
    METRICS,
    PUBLISH_DURATION,
    PUBLISHED,
    REQUEST_DURATION,
    SETTLED,
    MetricKind,
)
from shared.telemetry.publishing import ObservedPublisher
from shared.telemetry.tracing import TRACEPARENT
from tests.support.eventually import eventually
from tests.support.fakes.memory_dead_letter_table import MemoryDeadLetterTable
from tests.support.fakes.scripted_forwarder import UNAVAILABLE
from tests.support.fakes.worker_world import WorkerWorld
from tests.support.sample_events import sample_event, sample_row
from tests.support.telemetry import MemoryTelemetry
from worker.dead_letter_messages import read_letter
from worker.dead_letter_publisher import REASON_ATTRIBUTE
from worker.forwarding import Disposition
from worker.subscription import ReceivedMessage
from worker.telemetry.batches import ObservedBatchHandler
from worker.telemetry.ledger import ObservedForwardLedger
from worker.telemetry.requests import ObservedStatsigForwarder
from worker.telemetry.states import REASONS_SHOWN, OpenLetters, PendingAge, observe_circuit

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


async def test_what_is_noted_and_what_is_ours_already_is_handed_on(memory: MemoryTelemetry, world: WorkerWorld) -> None:
    event_ids, _ = await world.logged_and_pulled(2)
    ledger = ObservedForwardLedger(world.ledger, memory.telemetry)
    await ledger.claim(event_ids, token="first", seconds=60)

    assert await ledger.note(attempts(event_ids), token="first") == set(event_ids)
    entries = await ledger.claim(event_ids, token="second", seconds=60, own={key: ["first"] for key in event_ids})

    assert [entry.is_resumed for entry in entries.values()] == [True, True]
    assert ({"operation": "note", "outcome": "ok"}, 1) in memory.points(LEDGER_DURATION)


async def test_what_claims_find_and_what_is_settled_is_counted(memory: MemoryTelemetry, world: WorkerWorld) -> None:
    event_ids, _ = await world.logged_and_pulled(2)
    ledger = ObservedForwardLedger(world.ledger, memory.telemetry)

    await ledger.claim([*event_ids, sample_event().event_id], token="mine", seconds=60)
    await ledger.claim(event_ids, token="another's", seconds=60)
    world.ledger.failures.fail_next("settle_delivered", StorageUnavailableError("no"))
    with pytest.raises(StorageUnavailableError):
        await ledger.settle_delivered(attempts(event_ids))
    await ledger.settle_delivered(attempts(event_ids))

    assert sorted((a["outcome"], n) for a, n in memory.points(CLAIMED)) == [
        ("claimed", 2),
        ("claimed_elsewhere", 2),
        ("missing", 1),
    ]
    assert [(a["state"], n) for a, n in memory.points(SETTLED) if n] == [("DELIVERED", 2)]
    assert ({"operation": "settle", "outcome": "storage_unavailable"}, 1) in memory.points(LEDGER_DURATION)


async def test_the_delay_of_a_delivery_is_counted_from_the_commit_once_whatever_was_tried_before(
    memory: MemoryTelemetry, world: WorkerWorld
) -> None:
    (released, delivered, dead, late), _ = await world.logged_and_pulled(4)
    ledger = ObservedForwardLedger(world.ledger, memory.telemetry, clock=world.clock)
    await ledger.claim([released, delivered, dead, late], token="mine", seconds=600)
    world.clock.advance(40)

    await ledger.release(attempts([released]), token="mine")
    await ledger.settle_dead(attempts([dead]), token="mine")
    world.ledger.failures.fail_next("settle_delivered", StorageUnavailableError("no"))
    with pytest.raises(StorageUnavailableError):
        await ledger.settle_delivered(attempts([delivered]))
    assert memory.points(DELIVERY_DELAY) == []
    await ledger.settle_delivered(attempts([delivered]))
    await ledger.settle_delivered(attempts([delivered, released]))

    assert memory.points(DELIVERY_DELAY) == [({}, 1)]
    assert memory.sums(DELIVERY_DELAY) == [40]
    world.clock.advance(20)
    await ledger.settle_delivered(attempts([late]))
    assert memory.sums(DELIVERY_DELAY) == [100]


def test_the_circuit_shows_whether_it_is_open_and_why(memory: MemoryTelemetry, world: WorkerWorld) -> None:
    observe_circuit(memory.telemetry, world.circuit)
    closed = memory.points(CIRCUIT_OPEN)
    world.open_circuit()
    opened = memory.points(CIRCUIT_OPEN)

    assert closed == [({"reason": ""}, 0)]
    assert ({"reason": "http_503"}, 1) in opened


@pytest.mark.parametrize("failure", [StorageRejectedError("no such index"), RuntimeError("a bug")])
async def test_a_look_that_fails_in_any_way_does_not_end_the_process(
    memory: MemoryTelemetry, world: WorkerWorld, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr("worker.telemetry.states.LOOK_SECONDS", 0)
    world.ledger.failures.fail_next("oldest_pending_seconds", failure)
    age = PendingAge(world.ledger, world.clock)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(age.watch_forever, memory.telemetry)
        await eventually(lambda: age.seconds() == 0)
        tasks.cancel_scope.cancel()


async def test_open_dead_letters_are_told_by_reason_and_what_is_gone_as_nothing(world: WorkerWorld) -> None:
    table = MemoryDeadLetterTable(world.store)
    opened = OpenLetters(table)
    assert opened.by_reason() is None
    await opened.look()
    assert opened.by_reason() == {"": 0}

    messages = [ReceivedMessage("", str(n), b"x", {REASON_ATTRIBUTE: f"r{n // 2}"}, AT, 0) for n in range(60)]
    await table.collect([read_letter(message) for message in messages])
    await opened.look()
    found = opened.by_reason() or {}
    assert sum(found.values()) == 60
    assert (len(found), found["other"]) == (REASONS_SHOWN + 1, 20)

    await table.close([read_letter(message).subject for message in messages], Closing.DISCARDED)
    await opened.look()
    assert set((opened.by_reason() or {}).values()) == {0}
    await opened.look()
    assert opened.by_reason() == {"": 0}


async def test_the_oldest_pending_event_grows_older_also_while_spanner_is_silent(world: WorkerWorld) -> None:
    age = PendingAge(world.ledger, world.clock)
    assert age.seconds() is None
    await age.look()
    assert age.seconds() == 0

    await world.log()
    world.clock.advance(40)
    await age.look()
    assert age.seconds() == 40

    world.ledger.failures.fail_next("oldest_pending_seconds", StorageUnavailableError("no"))
    world.clock.advance(20)
    with pytest.raises(StorageUnavailableError):
        await age.look()
    assert age.seconds() == 60

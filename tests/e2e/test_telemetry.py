"""One event's trace through every process, read from what they exported, with its metrics and log lines."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pyqwest
import pytest
from connectrpc.errors import ConnectError
from connectrpc_otel import OpenTelemetryInterceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from deploy.local.stack import Stack, StackOptions, running_stack
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest
from shared.telemetry.metrics import (
    ACCOUNT,
    ATTEMPTS,
    CALL_EVENTS,
    CIRCUIT_OPEN,
    COMPLAINTS,
    DEAD_LETTERS,
    DELIVERY_DELAY,
    FORWARD_DELAY,
    METRICS,
    PUBLISHED,
    RPC_DURATION,
    SETTLED,
    Metric,
)
from tests.support.delivery import log_events, until_delivered
from tests.support.emulators.seeded_events import seeded_events
from tests.support.operators.nest_events import nest_events
from tests.support.wire.ingress import open_store
from tests.support.wire.otlp import Receiver, SeenSpan, otlp_receiver

pytestmark = [pytest.mark.emulators, pytest.mark.processes]

CANARY = "canary-5d1e"
IMPATIENT = {"RETRY_BUDGET_SECONDS": "5", "STATSIG_TIMEOUT_SECONDS": "1", "CLAIM_SECONDS": "15"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with otlp_receiver() as running:
        yield running


@pytest.fixture
async def stack(emulators: Emulators, names: StackNames, receiver: Receiver, tmp_path: Path) -> AsyncIterator[Stack]:
    options = StackOptions(settings=receiver.environment | IMPATIENT)
    async with running_stack(tmp_path, options, names=names, emulators=emulators) as running:
        yield running


async def tell_statsig(stack: Stack, *statuses: int) -> None:
    """Answer the next requests so, each status once, the last one from then on."""
    rules: list[dict[str, Any]] = [{"behaviour": {"kind": "status", "status": s}, "times": 1} for s in statuses[:-1]]
    rules.append({"behaviour": {"kind": "status", "status": statuses[-1]}})
    await pyqwest.Client().put(f"{stack.statsig_url}/control", content=json.dumps(rules).encode())


async def logged(stack: Stack) -> tuple[str, str]:
    """An event from a caller who traces its call; the event_id and the trace_id."""
    provider = TracerProvider()
    interceptor = OpenTelemetryInterceptor(
        client=True, tracer_provider=provider, propagator=TraceContextTextMapPropagator()
    )
    async with EventLoggingServiceClient(stack.ingress_url, interceptors=[interceptor]) as client:
        with provider.get_tracer("caller").start_as_current_span("order paid") as span:
            answer = await client.log_event(LogEventRequest(event_name="order_paid", actor_id=CANARY))
    return answer.event_id, f"{span.get_span_context().trace_id:032x}"


def log_lines(stack: Stack, process: str) -> Iterator[dict[str, Any]]:
    for line in (stack.run_dir / f"{process}.log").read_text().splitlines():
        yield json.loads(line)


def line_of(span: SeenSpan, spans: list[SeenSpan]) -> list[str]:
    """The names from the first known ancestor down to the span."""
    by_id = {each.span_id: each for each in spans}
    names = [span.name]
    while span.parent_id in by_id:
        span = by_id[span.parent_id]
        names.append(span.name)
    return names[::-1]


@pytest.mark.timeout(90)
async def test_one_trace_spans_caller_to_statsig_for_an_event_delivered_at_its_third_attempt_after_a_replay(
    stack: Stack, receiver: Receiver, environment: dict[str, str]
) -> None:
    assert stack.statsig_log is not None
    await tell_statsig(stack, 400)
    event_id, trace_id = await logged(stack)
    async with open_store(environment) as store:
        with anyio.fail_after(20):
            while (await store.row(event_id))["state"] != "DEAD":
                await anyio.sleep(0.05)

    await tell_statsig(stack, 503, 202)
    async with seeded_events(environment) as seeded:
        with anyio.fail_after(20):
            while not await seeded.open_letters():
                await anyio.sleep(0.05)
    ran = await nest_events(environment | receiver.environment, "dead-letters", "replay", "--yes")
    assert ran.code == 0, ran.err
    received = await until_delivered([event_id], stack.statsig_log)
    await receiver.until(lambda seen: len([s for s in seen.trace(trace_id) if s.name == "process forward"]) == 2)

    trace = receiver.trace(trace_id)
    attempts = [span for span in trace if span.name == "statsig log_event"]
    assert received == {event_id: 1}
    assert [span.attributes["http.response.status_code"] for span in attempts] == [400, 503, 202]
    assert {span.attributes["event_log.event_id"] for span in attempts} == {event_id}
    assert line_of(attempts[-1], trace) == [
        "events.v1.EventLoggingService/LogEvent",
        "send forward",
        "process forward",
        "send dead_letter",
        "send forward",
        "process forward",
        "statsig log_event",
    ]
    assert {span.process for span in trace} == {"event-log-ingress", "event-log-worker", "event-log-operator"}
    assert {"commit"} | {span.name for span in trace if span.scope == "cloud.google.com/python/spanner"} >= {
        "commit",
        "CloudSpanner.Batch.commit",
    }
    assert CANARY not in "".join(span.text for span in receiver.spans)

    told = (await nest_events(environment, "trace", event_id, "--json")).json
    assert told["trace_id"] == trace_id

    # The lines about the event in both processes' logs name the trace.
    ingress_lines = [line for line in log_lines(stack, "ingress") if line.get("event_id") == event_id]
    worker_lines = [line for line in log_lines(stack, "worker-1") if line.get("event_id") == event_id]
    assert [line["message"] for line in ingress_lines] == ["rpc"]
    assert [line["message"] for line in worker_lines] == ["message_dead_lettered"]
    for line in [*ingress_lines, *worker_lines]:
        assert line["logging.googleapis.com/trace"] == f"projects/{stack.names.project}/traces/{trace_id}"
        assert line["logging.googleapis.com/spanId"] in {span.span_id for span in trace}
        assert line["logging.googleapis.com/trace_sampled"] is True


@pytest.mark.timeout(90)
async def test_every_metric_is_exported_with_its_unit_and_meaning_and_counts_what_happened(
    stack: Stack, receiver: Receiver, environment: dict[str, str]
) -> None:
    assert stack.statsig_log is not None
    await tell_statsig(stack, 400)
    await logged(stack)
    await receiver.until(lambda seen: bool(seen.latest(DEAD_LETTERS.name)))
    await tell_statsig(stack, 202)
    event_ids = await log_events(stack.ingress_url, 30)
    async with EventLoggingServiceClient(stack.ingress_url) as client:
        with pytest.raises(ConnectError):
            await client.log_event(LogEventRequest(event_name=" "), headers={"host": f"{CANARY}.example"})
        unforwarded = LogEventRequest(event_name="several[]", forward_to_statsig=False)
        await client.log_events(LogEventsRequest(events=[unforwarded, LogEventRequest(event_name=CANARY * 40)]))
    await until_delivered(event_ids, stack.statsig_log)
    ran = await nest_events(environment | receiver.environment, "account")
    assert ran.code == 0, ran.err

    def total(metric: Metric, **attributes: str) -> float:
        return sum(
            point.value for point in receiver.latest(metric.name) if attributes.items() <= point.attributes.items()
        )

    await receiver.until(lambda _: total(SETTLED) == 31)
    await receiver.until(lambda _: total(RPC_DURATION) == 33)
    seen = {(point.metric, point.unit) for point in receiver.points}
    assert {(metric.name, metric.unit) for metric in METRICS} - seen == set()
    ours = {metric.name: metric for metric in METRICS if metric is not RPC_DURATION}
    assert all(point.meaning == ours[point.metric].meaning for point in receiver.points if point.metric in ours)
    assert {(metric.name, *sorted(metric.attributes)) for metric in METRICS} >= {
        (point.metric, *sorted(point.attributes)) for point in receiver.points if point.metric in ours
    }
    assert total(RPC_DURATION, **{"rpc.response.status_code": "invalid_argument"}) == 1
    assert total(CALL_EVENTS, method="LogEvent", code="ok") == 31
    assert total(CALL_EVENTS, method="LogEvent", code="invalid_argument") == 1
    assert total(CALL_EVENTS, method="LogEvents", code="ok") == 1
    assert total(CALL_EVENTS, method="LogEvents", code="invalid_argument") == 1
    assert {(*point.attributes.values(), point.value) for point in receiver.latest(COMPLAINTS.name)} == {
        ("refusal", "event_name:required", 1),
        ("refusal", "event_name:max_length", 1),
        ("warning", "event_name:statsig_name_dropped", 1),
    }
    assert total(ATTEMPTS, verdict="confirmed", reason="http_202") == 30
    assert total(ATTEMPTS, verdict="rejected", reason="http_400") == 1
    assert total(SETTLED, state="DELIVERED") == 30
    assert total(SETTLED, state="DEAD") == 1
    assert total(DEAD_LETTERS, reason="http_400") == 1
    assert total(PUBLISHED, topic="forward", publisher="ingress") == 31
    assert total(PUBLISHED, topic="dead_letter", publisher="worker") == 1
    assert total(FORWARD_DELAY) == 31
    assert total(DELIVERY_DELAY) == 30
    assert total(CIRCUIT_OPEN) == 0
    assert {point.attributes["state"]: point.value for point in receiver.latest(ACCOUNT.name)} == {
        "accepted": 31,
        "delivered": 30,
        "pending": 0,
        "dead": 1,
        "forwarded_later": 0,
        "possible_duplicates": 0,
        "unaccounted": 0,
    }
    # Nothing that a caller chooses becomes a time series of its own.
    assert CANARY not in str([point.attributes for point in receiver.points])

"""Traces of events are continued from a traceparent in data to spans, and back."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode, Tracer

from shared.errors import StorageUnavailableError
from shared.telemetry.tracing import current_traceparent, span_context_of, trace_span, traceparent_of, untraced

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
OTHER = f"00-{'1' * 32}-{'2' * 16}-01"


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exported: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider.get_tracer("test")


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        7,
        "",
        "junk",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-00",
        f"00-{'0' * 32}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        "ü" * 55,
    ],
)
def test_only_a_well_formed_and_sampled_trace_is_continued(traceparent: object) -> None:
    assert span_context_of(traceparent) is None


def test_a_traceparent_survives_the_way_through_data(tracer: Tracer) -> None:
    assert current_traceparent() is None
    with tracer.start_as_current_span("call") as span:
        text = current_traceparent()
        found = span_context_of(text)

    assert text == traceparent_of(span)
    assert found is not None
    assert (found.trace_id, found.span_id) == (span.get_span_context().trace_id, span.get_span_context().span_id)


def test_a_span_that_is_not_sampled_has_no_traceparent() -> None:
    tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("test")

    with tracer.start_as_current_span("call"):
        assert current_traceparent() is None


def test_work_for_several_events_is_a_span_in_the_trace_of_each(tracer: Tracer, exported: InMemorySpanExporter) -> None:
    with trace_span(tracer, "commit", [None, SAMPLED, "junk", OTHER], attributes={"rows": 4}) as spans:
        assert [span is not None for span in spans] == [False, True, False, True]
        with tracer.start_as_current_span("below"):
            pass
        assert exported.get_finished_spans()[0].name == "below"

    below, first, second = exported.get_finished_spans()
    assert first.parent is not None
    assert second.parent is not None
    assert below.parent is not None
    assert (f"{first.parent.trace_id:032x}", f"{first.parent.span_id:016x}") == (TRACE, SPAN)
    assert f"{second.parent.trace_id:032x}" == "1" * 32
    assert below.parent.span_id == first.context.span_id
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert first.attributes == {"rows": 4}


def test_nothing_below_is_recorded_where_no_event_is_sampled(tracer: Tracer, exported: InMemorySpanExporter) -> None:
    with trace_span(tracer, "commit", [None, None]), tracer.start_as_current_span("below"):
        pass
    with untraced(), tracer.start_as_current_span("below"):
        pass

    assert exported.get_finished_spans() == ()


def test_what_was_current_is_so_again_afterwards(tracer: Tracer) -> None:
    with tracer.start_as_current_span("call"):
        before = current_traceparent()
        with trace_span(tracer, "commit", [SAMPLED]):
            assert current_traceparent() != before
        with untraced():
            assert current_traceparent() is None
        assert current_traceparent() == before


def test_a_failure_marks_every_span_with_its_reason(tracer: Tracer, exported: InMemorySpanExporter) -> None:
    with pytest.raises(StorageUnavailableError), trace_span(tracer, "commit", [SAMPLED, OTHER]):
        raise StorageUnavailableError("no answer")

    for span in exported.get_finished_spans():
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes is not None
        assert span.attributes["error.type"] == "storage_unavailable"
        assert span.events == ()

"""Telemetry whose spans and metrics stay in memory."""

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry.metrics import Metric
from shared.telemetry.providers import Telemetry


class MemoryTelemetry:
    """Pass `telemetry` to the code under test."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracer_provider = TracerProvider(shutdown_on_exit=False)
        tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.telemetry = Telemetry(tracer_provider, MeterProvider([self._reader], shutdown_on_exit=False))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._spans.get_finished_spans()

    def traceparent(self) -> str:
        """The traceparent of a new sampled trace."""
        span = self.telemetry.tracer.start_span("call")
        context = span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    def points(self, metric: Metric) -> list[tuple[dict[str, Any], float]]:
        """Attributes and value of each time series; a histogram's value is its count."""
        return [
            (dict(point.attributes or {}), point.count if isinstance(point, HistogramDataPoint) else point.value)
            for point in self._points(metric)
        ]

    def sums(self, metric: Metric) -> list[float]:
        """The sum of each time series of a histogram."""
        return [point.sum for point in self._points(metric) if isinstance(point, HistogramDataPoint)]

    def _points(self, metric: Metric) -> list[NumberDataPoint | HistogramDataPoint]:
        data = self._reader.get_metrics_data()
        return [
            point
            for of_resource in (data.resource_metrics if data else ())
            for of_scope in of_resource.scope_metrics
            for found in of_scope.metrics
            if found.name == metric.name
            for point in found.data.data_points
            if not hasattr(point, "scale")  # this project has no exponential histograms
        ]

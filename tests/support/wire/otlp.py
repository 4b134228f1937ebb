"""An OTLP/HTTP receiver on a real socket, which keeps exported spans and metrics as data."""

import gzip
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric


@dataclass(frozen=True)
class SeenSpan:
    process: str
    scope: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a root span."""

    links: tuple[str, ...]
    """The span_ids of its links."""

    attributes: dict[str, Any]
    status: int
    text: str
    """The whole span as text, to search for what must not be exported."""


@dataclass(frozen=True)
class SeenPoint:
    process: str
    metric: str
    unit: str
    meaning: str
    attributes: dict[str, Any]
    value: float
    """The value of a counter or gauge, the count of a histogram."""


@dataclass
class Receiver:
    port: int
    spans: list[SeenSpan] = field(default_factory=list)
    points: list[SeenPoint] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Settings that make a process export to this receiver at short intervals."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def latest(self, metric: str) -> list[SeenPoint]:
        """The latest value of each time series of a metric."""
        series = {(p.process, *sorted(p.attributes.items())): p for p in self.points if p.metric == metric}
        return list(series.values())

    def trace(self, trace_id: str) -> list[SeenSpan]:
        return [span for span in self.spans if span.trace_id == trace_id]

    async def until(self, condition: Callable[["Receiver"], bool], *, seconds: float = 20.0) -> None:
        """Wait for an export in the background.

        Raises:
            TimeoutError: the condition did not hold in time.
        """
        with anyio.fail_after(seconds):
            while not condition(self):
                await anyio.sleep(0.02)


@asynccontextmanager
async def otlp_receiver() -> AsyncIterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                receiver.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
            elif self.path == "/v1/metrics":
                receiver.points.extend(_points(ExportMetricsServiceRequest.FromString(body)))
            self.send_response(200 if self.path in ("/v1/traces", "/v1/metrics") else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _spans(request: ExportTraceServiceRequest) -> Iterable[SeenSpan]:
    for of_resource in request.resource_spans:
        process = str(_attributes(of_resource.resource.attributes)["service.name"])
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield SeenSpan(
                    process=process,
                    scope=of_scope.scope.name,
                    name=span.name,
                    kind=span.kind,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    links=tuple(link.span_id.hex() for link in span.links),
                    attributes=_attributes(span.attributes),
                    status=span.status.code,
                    text=str(span),
                )


def _points(request: ExportMetricsServiceRequest) -> Iterable[SeenPoint]:
    for of_resource in request.resource_metrics:
        process = str(_attributes(of_resource.resource.attributes)["service.name"])
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                for attributes, value in _values(metric):
                    yield SeenPoint(process, metric.name, metric.unit, metric.description, attributes, value)


def _values(metric: Metric) -> Iterable[tuple[dict[str, Any], float]]:
    if metric.HasField("histogram"):
        return [(_attributes(point.attributes), point.count) for point in metric.histogram.data_points]
    points = metric.sum.data_points if metric.HasField("sum") else metric.gauge.data_points
    return [(_attributes(p.attributes), p.as_int if p.HasField("as_int") else p.as_double) for p in points]


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


def by_parent(spans: Iterable[SeenSpan]) -> dict[str, list[SeenSpan]]:
    """The children of each span_id."""
    children: dict[str, list[SeenSpan]] = defaultdict(list)
    for span in spans:
        children[span.parent_id].append(span)
    return children

"""Where traces and metrics go: an OTLP receiver, or nowhere."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

import google.auth
import requests
from google.auth.exceptions import DefaultCredentialsError
from google.auth.transport.requests import AuthorizedSession
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Meter
from opentelemetry.resourcedetector.gcp_resource_detector import GoogleCloudResourceDetector
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Tracer

from shared.errors import SettingsError
from shared.settings import Settings
from shared.telemetry.metrics import RPC_DURATION, SCOPE
from shared.telemetry.redaction import RedactingSpanExporter

EXPORT_SECONDS: Final = 5.0
"""For one export. It runs on a thread of the SDK's, and nobody waits for it."""

SHUTDOWN_SECONDS: Final = 1.0
"""For what is left when the process ends: with the 7 s of everything else this stays below Cloud Run's 10 s."""

GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What is needed to trace and to measure."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider

    @property
    def tracer(self) -> Tracer:
        return self.tracer_provider.get_tracer(SCOPE)

    @property
    def meter(self) -> Meter:
        return self.meter_provider.get_meter(SCOPE)


@contextmanager
def open_telemetry(settings: Settings, *, process: str) -> Iterator[Telemetry | None]:
    """Telemetry for one process, flushed within SHUTDOWN_SECONDS at the end; None where no receiver is named.

    A receiver that is away costs what could not be exported, and nothing else.

    Raises:
        SettingsError: the receiver is Google's, and there are no credentials for it.
    """
    if settings.otel_exporter_otlp_endpoint is None:
        yield None
        return
    endpoint = settings.otel_exporter_otlp_endpoint.rstrip("/")
    telemetry = create_telemetry(
        settings,
        process=process,
        spans=OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=EXPORT_SECONDS, session=_session(endpoint)),
        metrics=OTLPMetricExporter(f"{endpoint}/v1/metrics", timeout=EXPORT_SECONDS, session=_session(endpoint)),
    )
    try:
        yield telemetry
    finally:
        _within(SHUTDOWN_SECONDS, telemetry.tracer_provider.shutdown, telemetry.meter_provider.shutdown)


def create_telemetry(
    settings: Settings, *, process: str, spans: OTLPSpanExporter, metrics: OTLPMetricExporter
) -> Telemetry:
    """Telemetry with these exporters. Not registered as OpenTelemetry's global one: whoever needs it is given it."""
    resource = _resource(settings, process)
    tracer_provider = TracerProvider(
        # A caller that sampled its trace has ours in it, whole.
        sampler=ParentBased(TraceIdRatioBased(settings.otel_traces_sampler_arg)),
        resource=resource,
        shutdown_on_exit=False,  # it would wait for a receiver that is away
    )
    tracer_provider.add_span_processor(BatchSpanProcessor(RedactingSpanExporter(spans)))
    meter_provider = MeterProvider(
        [PeriodicExportingMetricReader(metrics, export_interval_millis=settings.otel_metric_export_interval)],
        resource=resource,
        shutdown_on_exit=False,
        # connectrpc-otel adds the address from the Host header: any caller could make new time series with it.
        views=[View(instrument_name=RPC_DURATION.name, attribute_keys=set(RPC_DURATION.attributes))],
    )
    return Telemetry(tracer_provider, meter_provider)


def _resource(settings: Settings, process: str) -> Resource:
    ours = Resource(
        {
            "service.name": f"event-log-{process}",
            "service.version": version("event-logging"),
            "service.instance.id": str(uuid.uuid4()),
            "gcp.project_id": settings.google_cloud_project,  # what telemetry.googleapis.com files a trace under
        }
    )
    if not settings.on_cloud_run:
        return ours
    # Asks the metadata server for region and instance.
    return GoogleCloudResourceDetector(raise_on_error=False).detect().merge(ours)


def _session(endpoint: str) -> requests.Session | None:
    """One with Google's credentials for Google's receiver; they go nowhere else."""
    address = urlsplit(endpoint)
    if address.scheme != "https" or not (address.hostname or "").endswith(".googleapis.com"):
        return None
    try:
        credentials, _ = google.auth.default(scopes=[GOOGLE_SCOPE])
    except DefaultCredentialsError as error:
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT is Google's, and there are no Google credentials") from error
    return AuthorizedSession(credentials)


def _within(seconds: float, *calls: Callable[[], None]) -> None:
    """Run the calls side by side on daemon threads and wait so long at the most."""
    threads = [threading.Thread(target=call, name="telemetry-shutdown", daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))

"""Export over OTLP: the SDK's providers and exporters, and the resource attributes that name the process.

Import it only if a receiver is set: the import takes a third of a second.
"""

import uuid
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

import google.auth
import requests
from google.auth.exceptions import DefaultCredentialsError
from google.auth.transport.requests import AuthorizedSession
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from shared.errors import SettingsError
from shared.process.logs import get_logger
from shared.process.settings import Settings
from shared.telemetry.metrics import RPC_DURATION
from shared.telemetry.providers import Telemetry
from shared.telemetry.redaction import RedactingSpanExporter

EXPORT_SECONDS: Final = 5.0
"""The bound on one export, which runs on a thread of the SDK."""

REGION_URL: Final = "http://metadata.google.internal/computeMetadata/v1/instance/region"

METADATA_SECONDS: Final = 2.0
"""The bound on a request to the metadata server, which is on the same machine. A process starts without it too."""

GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"

_log = get_logger()


def telemetry_to(endpoint: str, settings: Settings, *, process: str) -> Telemetry:
    """Telemetry of one process, exported to the receiver with this base address.

    Raises:
        SettingsError: the receiver is Google's, and there are no credentials for it.
    """
    return create_telemetry(
        settings,
        process=process,
        spans=OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=EXPORT_SECONDS, session=_session(endpoint)),
        metrics=OTLPMetricExporter(f"{endpoint}/v1/metrics", timeout=EXPORT_SECONDS, session=_session(endpoint)),
    )


def create_telemetry(
    settings: Settings, *, process: str, spans: OTLPSpanExporter, metrics: OTLPMetricExporter
) -> Telemetry:
    """Telemetry with these exporters. Not registered globally: composition roots pass it to what needs it."""
    resource = _resource(settings, process)
    tracer_provider = TracerProvider(
        # A caller's sampled trace is always continued, so that it is complete.
        sampler=ParentBased(TraceIdRatioBased(settings.otel_traces_sampler_arg)),
        resource=resource,
        shutdown_on_exit=False,  # would wait for a receiver that is down
    )
    tracer_provider.add_span_processor(BatchSpanProcessor(RedactingSpanExporter(spans)))
    meter_provider = MeterProvider(
        [PeriodicExportingMetricReader(metrics, export_interval_millis=settings.otel_metric_export_interval)],
        resource=resource,
        shutdown_on_exit=False,
        # connectrpc-otel adds the address in the Host header, with which any caller could create time series.
        views=[View(instrument_name=RPC_DURATION.name, attribute_keys=set(RPC_DURATION.attributes))],
    )
    return Telemetry(tracer_provider, meter_provider)


def _resource(settings: Settings, process: str) -> Resource:
    """The attributes that identify the process.

    Cloud Monitoring makes the labels of `prometheus_target` from them: `location` from cloud.region, without which it
    refuses metrics, `namespace` from service.namespace, `job` from that and service.name, `instance` from
    service.instance.id (docs.cloud.google.com/stackdriver/docs/reference/telemetry/v1.metrics).
    """
    attributes: dict[str, str] = {
        "service.name": f"event-log-{process}",
        "service.namespace": settings.spanner_database,  # differs between deployments in one project
        "service.version": version("event-logging"),
        "service.instance.id": str(uuid.uuid4()),
        "gcp.project_id": settings.google_cloud_project,  # where telemetry.googleapis.com stores a trace
    }
    if settings.on_cloud_run:
        attributes |= {"cloud.provider": "gcp", "cloud.platform": "gcp_cloud_run"}
        region = _region()
        if region is not None:
            attributes["cloud.region"] = region
    return Resource.create(attributes)  # OTEL_RESOURCE_ATTRIBUTES are added; these win


def _region() -> str | None:
    """The region of Cloud Run; None if the metadata server does not answer.

    OpenTelemetry's detector for Python (1.14) finds it for services only. The address is the same for worker pools and
    jobs (cloud.google.com/run/docs/container-contract#metadata-server).
    """
    try:
        answer = requests.get(REGION_URL, headers={"Metadata-Flavor": "Google"}, timeout=METADATA_SECONDS)
        answer.raise_for_status()
    except requests.RequestException as error:
        _log.warning("region_unknown", error=type(error).__name__)
        return None
    region: str = answer.text.rpartition("/")[2]  # of projects/NUMBER/regions/REGION
    return region


def _session(endpoint: str) -> requests.Session | None:
    """A session with Google credentials if the receiver is Google's, else None: they must go nowhere else."""
    address = urlsplit(endpoint)
    if address.scheme != "https" or not (address.hostname or "").endswith(".googleapis.com"):
        return None
    try:
        credentials, _ = google.auth.default(scopes=[GOOGLE_SCOPE])
    except DefaultCredentialsError as error:
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT is Google's, and there are no Google credentials") from error
    return AuthorizedSession(credentials)

"""Where telemetry is exported to, and that it delays nothing."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth.transport.requests import AuthorizedSession

from shared.errors import SettingsError
from shared.process.settings import CLOUD_RUN_VARIABLES, Settings, from_environment
from shared.telemetry import exporting
from shared.telemetry.exporting import _resource, _session
from shared.telemetry.metrics import ATTEMPTS, METRICS, counter
from shared.telemetry.providers import SHUTDOWN_SECONDS, open_telemetry
from tests.support.wire.otlp import otlp_receiver

MINIMAL = {"GOOGLE_CLOUD_PROJECT": "p", "SPANNER_INSTANCE": "i", "SPANNER_DATABASE": "d", "FORWARD_TOPIC": "t"}


def settings(**overrides: str) -> Settings:
    return from_environment(Settings, MINIMAL | overrides)


def test_without_a_receiver_there_is_no_telemetry() -> None:
    with open_telemetry(settings(), process="ingress") as telemetry:
        assert telemetry is None


async def test_what_is_left_is_exported_at_the_end() -> None:
    async with otlp_receiver() as receiver:
        with open_telemetry(settings(OTEL_EXPORTER_OTLP_ENDPOINT=f"{receiver.url}/"), process="test") as telemetry:
            assert telemetry is not None
            counter(telemetry.meter, ATTEMPTS).add(3)
            with telemetry.tracer.start_as_current_span("late"):
                pass
            assert receiver.spans == []

    assert [(span.process, span.name) for span in receiver.spans] == [("event-log-test", "late")]
    assert [(point.metric, point.value) for point in receiver.points] == [(ATTEMPTS.name, 3)]


@pytest.mark.parametrize("share", ["0", "1"])
async def test_the_sampler_decides_about_traces_that_begin_here(share: str) -> None:
    async with otlp_receiver() as receiver:
        environment = receiver.environment | {"OTEL_TRACES_SAMPLER_ARG": share}
        with open_telemetry(settings(**environment), process="test") as telemetry:
            assert telemetry is not None
            with telemetry.tracer.start_as_current_span("call"):
                pass

    assert len(receiver.spans) == int(share)


def test_a_receiver_that_never_answers_does_not_hold_up_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with open_telemetry(settings(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint), process="test") as telemetry:
            assert telemetry is not None
            with telemetry.tracer.start_as_current_span("lost"):
                pass
            began = time.monotonic()
        took = time.monotonic() - began

    assert took < SHUTDOWN_SECONDS + 1


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = tmp_path / "key.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "p",
                "client_email": "w@p.iam.gserviceaccount.com",
                "token_uri": "https://oauth2.googleapis.com/token",
                "private_key": key.decode(),
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))


@pytest.mark.usefixtures("service_account")
@pytest.mark.parametrize(
    ("endpoint", "with_credentials"),
    [
        ("https://telemetry.googleapis.com", True),
        ("http://telemetry.googleapis.com", False),
        ("http://localhost:4318", False),
        ("https://telemetry.googleapis.com.example", False),
        ("https://notgoogleapis.com", False),
    ],
)
def test_googles_credentials_go_to_google_alone_and_encrypted(endpoint: str, with_credentials: bool) -> None:
    assert isinstance(_session(endpoint), AuthorizedSession) is with_credentials


def test_googles_receiver_without_credentials_is_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")

    with (
        pytest.raises(SettingsError, match="no Google credentials"),
        open_telemetry(settings(OTEL_EXPORTER_OTLP_ENDPOINT="https://telemetry.googleapis.com"), process="ingress"),
    ):
        pass


# --- what Cloud Monitoring asks for ----------------------------------------------------------------------------------


@pytest.fixture
def metadata_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Cloud Run's, as far as it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["Metadata-Flavor"] == "Google" else 403)
            self.end_headers()
            self.wfile.write(b"projects/123/regions/europe-west1")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setattr(exporting, "REGION_URL", f"http://127.0.0.1:{server.server_address[1]}/region")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("metadata_server")
@pytest.mark.parametrize("variable", CLOUD_RUN_VARIABLES)
def test_a_service_a_worker_pool_and_a_job_all_say_where_they_run(variable: str) -> None:
    resource = _resource(settings(**{variable: "mine"}), "worker")

    assert resource.attributes["cloud.region"] == "europe-west1"
    assert resource.attributes["cloud.platform"] == "gcp_cloud_run"


def test_without_a_metadata_server_a_process_starts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "REGION_URL", "http://127.0.0.1:1/region")

    assert "cloud.region" not in _resource(settings(CLOUD_RUN_JOB="mine"), "operator").attributes


def test_two_processes_and_two_deployments_have_time_series_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "cloud.region=europe-west1,service.name=other")
    one, other = (dict(_resource(settings(), "worker").attributes) for _ in range(2))

    assert (one["service.namespace"], one["service.name"]) == ("d", "event-log-worker")
    assert one["service.instance.id"] != other["service.instance.id"]
    assert one["cloud.region"] == "europe-west1", "what the operator of another platform adds is kept"


def test_cloud_monitoring_takes_the_names_of_all_metrics_and_their_attributes() -> None:
    """The expressions of docs.cloud.google.com/stackdriver/docs/otlp-metrics/overview; what differs is rejected."""
    assert [metric.name for metric in METRICS if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_:./]*", metric.name)] == []
    keys = {key for metric in METRICS for key in metric.attributes}
    assert [key for key in keys if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.]*", key)] == []

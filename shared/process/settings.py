"""Settings: read from the environment once, validated together, passed on as values.

Every problem is reported in one error. `deploy/settings.env` documents each variable; a test holds it equal to this.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shared.errors import SettingsError
from shared.events.forward_ledger import DEFAULT_SHARDS

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

COMMIT_AND_SETTLE_SECONDS: Final = 5.0
"""Of a claim, for what comes before and after sending."""

MAX_METADATA_BYTES: Final = 65_536
"""The contract in proto/, of one event's metadata as compact JSON."""

HttpAddress = Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]+$")]

STATSIG_URL: Final = "https://events.statsigapi.net/v1"

CLOUD_RUN_VARIABLES: Final = ("K_SERVICE", "CLOUD_RUN_WORKER_POOL", "CLOUD_RUN_JOB")
"""Set by Cloud Run for services, worker pools and jobs."""


class Settings(BaseModel):
    """What every process needs. The variable of a field is its name in upper case."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=str.upper,
        populate_by_name=False,
        hide_input_in_errors=True,
        extra="ignore",
        allow_inf_nan=False,
    )

    on_cloud_run: bool = Field(default=False, alias="ON_CLOUD_RUN_DERIVED")
    """Derived from CLOUD_RUN_VARIABLES, never set by hand. First, because later fields are checked by it."""

    google_cloud_project: Name
    spanner_instance: Name
    spanner_database: Name
    spanner_database_role: Name | None = None
    """The fine-grained access role to act in (deploy/spanner/roles/). Unset: IAM on the database decides alone."""

    spanner_emulator_host: Name | None = None
    """Google's own variable, read by its client library too. `host:port`. Refused on Cloud Run."""

    pubsub_emulator_host: Name | None = None
    """As above, for Pub/Sub."""

    forward_topic: Name
    """A topic's short name, in GOOGLE_CLOUD_PROJECT."""

    forward_shards: int = Field(default=DEFAULT_SHARDS, ge=1, le=1000)
    """Shards of the indexes by time: one for each node or two (cloud.google.com/spanner/docs/schema-design). The same
    for all processes. It may be raised at any time. Lowered, what is pending in a shard that goes is not
    reconciled, which `nest-events doctor` finds, and older events are not found by time."""

    log_format: Literal["json", "console"] = "json"
    """`json` has Cloud Logging's fields; `console` is for people."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    commit_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    """The wall-clock bound on one Spanner commit or transaction, retries included. The client's own default is an
    hour (`timeout_secs` bounds retries of ABORTED only); Spanner's p99 is some tens of milliseconds."""

    publish_timeout_seconds: float = Field(default=1.0, gt=0, le=60)
    """The bound on one publish behind the commits. No caller waits for it; one that misses it costs delay only, but is
    tried while others gather, and a process that ends has little time left."""

    otel_exporter_otlp_endpoint: HttpAddress | None = None
    """OpenTelemetry's own variable: the base address of an OTLP/HTTP receiver, a collector or
    `https://telemetry.googleapis.com`, which alone is sent Google's credentials. Unset: no traces and no metrics."""

    otel_traces_sampler_arg: float = Field(default=1.0, ge=0, le=1)
    """The share of traces that begin here and are recorded. One that a caller began is recorded if it is there."""

    otel_metric_export_interval: int = Field(default=60_000, ge=100)
    """Milliseconds between two exports of metrics."""

    @field_validator("spanner_emulator_host", "pubsub_emulator_host")
    @classmethod
    def _not_on_cloud_run(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("on_cloud_run"):
            raise ValueError("must not be set on Cloud Run")
        return value


class IngressSettings(Settings):
    host: Name = "0.0.0.0"  # noqa: S104 - a container's only interface
    """The address to listen on."""

    port: int = Field(default=8080, ge=0, le=65535)
    """0 takes any free port and says which in the log."""

    forward_by_default: bool = True
    """What an unset `forward_to_statsig` means."""

    max_metadata_bytes: int = Field(default=MAX_METADATA_BYTES, ge=2, le=MAX_METADATA_BYTES)
    """The caller's metadata as compact JSON. The ceiling is the contract in proto/; lower it to be stricter."""

    max_request_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=32 * 1024 * 1024)
    """One request, also after decompression. Times the server's concurrency this must fit into memory."""

    max_event_bytes: int = Field(default=1024 * 1024, ge=1024, le=32 * 1024 * 1024)
    """A LogEvent, and each event of a LogEvents, also after decompression. A valid event needs 600 KiB at the most: a
    JSON text may have six characters for each of 65,536, and twelve for each of four times 4,096."""

    max_body_bytes_in_flight: int = Field(default=64 * 1024 * 1024, ge=1024)
    """What the bodies of all calls in flight may have together as they arrive, from the first byte to the end of the
    call: sixteen of the largest. What is decoded of them is bounded by MAX_DECODED_BYTES. Callers share: one alone has
    half. More is refused with `resource_exhausted` before it is read; a body alone never is."""

    max_request_values: int = Field(default=100_000, ge=1000)
    """Values in one LogEvents: objects, lists, texts, numbers, true, false and null. 500 events of 100 keys have
    50,000. The event loop takes some microseconds for each. One event's own are bounded by its metadata's bytes."""

    max_gzip_members: int = Field(default=100, ge=1)
    """Of one body. Clients make one; block-wise gzip has one for every 64 KiB, 65 for 4 MiB."""

    max_decoded_bytes: int = Field(default=1024 * 1024 * 1024, ge=1024)
    """What the bodies in flight may take together once they are decoded, by an estimate from their number of values.
    More is refused with `resource_exhausted`; a body alone never is."""

    commit_concurrency: int = Field(default=4, ge=1, le=64)
    """Commits in flight at once. While all are, arriving rows wait and share the next one. The emulator works on one at
    a time and aborts others, so that there it is one where it is not set; Spanner runs them side by side."""

    commit_rows: int = Field(default=64, ge=1, le=1000)
    """Rows of one commit at most: whoever comes next waits for it. Of 64 rows each costs 10 us more than of 256, and a
    commit touches fewer of Spanner's splits."""

    commit_queue_rows: int = Field(default=8192, ge=2)
    """Rows that may wait for a commit; more are refused with `resource_exhausted`. Callers share: each may have as many
    as are still free, so that one alone has half and another one always finds room."""

    commit_queue_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """As above, by the memory they take: what bounds it when events are large, or of many values."""

    caller_events_per_second: float | None = Field(default=None, gt=0)
    """Events of one caller that this process takes a second; more are refused with `resource_exhausted`. Unset: as many
    as there is room for. A call is taken whole or not at all, and what it goes beyond the limit by delays the next."""

    request_read_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """How long a client may take to send the body of a request."""

    idle_timeout_seconds: float = Field(default=75.0, gt=0, le=3600)
    """How long a connection may say nothing between two requests, or within the head of one: the server has one bound
    for both. Longer than the usual client and load balancer keep a connection (60 s), so that it is they who close it:
    a server that closes first races with the next request. A new connection has REQUEST_READ_TIMEOUT_SECONDS to begin
    its first request."""

    write_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """How long a client may take none of its answer."""

    max_head_bytes: int = Field(default=65_536, ge=1024, le=1024 * 1024)
    """Target and headers of one request. Cloud Run's own front end takes no more."""

    max_headers: int = Field(default=100, ge=16, le=10_000)

    max_connections: int = Field(default=4000, ge=1)
    """Open at once; more wait to be accepted. An idle one takes 4 KiB, one whose head is coming MAX_HEAD_BYTES at the
    most. Cloud Run needs one for each call at once (64) and no more."""

    trust_cloud_run_iam: bool = False
    """Whether the identity in a bearer token is recorded as checked by Cloud Run's IAM. Said by who deploys and never
    guessed: a service on Cloud Run may let everybody in, and a token that nobody checked can say anything."""

    iap_audience: Name | None = None
    """The expected audience of IAP's signed assertion. Unset: assertions are not looked at."""


class WorkerSettings(Settings):
    forward_subscription: Name
    dead_letter_topic: Name
    dead_letter_subscription: Name
    """Collected by the worker into the dead-letter table."""

    statsig_server_secret: SecretStr
    statsig_api_url: HttpAddress = STATSIG_URL
    """The base that `/log_event` is appended to; the final address, since a redirect would look like success."""

    statsig_environment: Name
    """The tier, for example `production`. Without a default: an unset tier means production and is billed."""

    statsig_principal: Name = "service:events"
    """The Statsig user that every event is logged for."""

    statsig_timeout_seconds: int = Field(default=10, ge=1, le=60)
    """Per read of one request. A whole send is bounded by twice this."""

    lanes: int = Field(default=2, ge=1, le=16)
    """Batches in work at once, each with its own SDK instance. From 4 on one process is bound by the GIL."""

    spare_lanes: int = Field(default=6, ge=0, le=32)
    """Lanes that work only while others wait for a slow answer and Statsig confirms others meanwhile. An event that
    makes Statsig hang then holds up its batch, and not what comes after it."""

    batch_events: int = Field(default=500, ge=1, le=500)
    """Messages of one pull, at the most, and events of one request. Statsig takes no more than 500."""

    pulls: int = Field(default=4, ge=1, le=32)
    """Pulls outstanding at once. One is answered after 10 to 100 ms, mostly with fewer messages than it asked for."""

    pull_ahead_messages: int = Field(default=1000, ge=1, le=10_000)
    """While fewer messages than that wait for a lane, more are pulled. They are leased and held in memory, 32 MiB of
    them; pulls that are outstanding then may bring more."""

    ledger_rows: int = Field(default=100, ge=1, le=500)
    """Rows of one claim or settlement at the most; those of a batch are written side by side. More make fewer calls,
    each of which writes to more of Spanner's splits."""

    retry_budget_seconds: float = Field(default=20.0, ge=1, le=300)
    """How long one batch is tried again, pauses included, before it is put off: its messages stay leased, and come
    again when others have had their turn."""

    claim_seconds: float = Field(default=90.0, ge=1, le=3600)
    """How long a claim holds when its worker dies. Must outlast a batch: the retry budget and one more send."""

    circuit_probe_seconds: float = Field(default=5.0, gt=0, le=600)
    """The first wait of an open circuit; it doubles up to ten times this."""

    suspect_attempts: int = Field(default=6, ge=2, le=20)
    """How often an event must fail alone, while others are confirmed, before it is dead-lettered. An event that Statsig
    rejects for what it carries (400, 413, 422) needs one failure."""

    suspect_backoff_seconds: float = Field(default=15.0, gt=0, le=600)
    """The pause before the first trial of an event that failed alone; it doubles each time. After six failures an event
    has failed for eight minutes."""

    reconcile_after_seconds: float = Field(default=60.0, gt=0)
    """How long a ledger row may be pending before its message is published again."""

    reconcile_interval_seconds: float = Field(default=30.0, gt=0)
    """The pause between two rounds, jittered by half."""

    reconcile_events_per_second: float = Field(default=500.0, gt=0)
    """The ceiling on republishing, so that a backlog drains without a storm."""

    @model_validator(mode="after")
    def _key_travels_encrypted(self) -> Self:
        if self.on_cloud_run and not self.statsig_api_url.startswith("https://"):
            raise ValueError("STATSIG_API_URL must be https on Cloud Run: the key travels with every request")
        return self

    @model_validator(mode="after")
    def _claim_outlasts_a_batch(self) -> Self:
        longest = self.retry_budget_seconds + 2 * self.statsig_timeout_seconds + COMMIT_AND_SETTLE_SECONDS
        if self.claim_seconds < longest:
            raise ValueError(
                "CLAIM_SECONDS must be at least RETRY_BUDGET_SECONDS + 2 x STATSIG_TIMEOUT_SECONDS + "
                f"{COMMIT_AND_SETTLE_SECONDS:g} ({longest:g})"
            )
        return self


class OperatorSettings(Settings):
    """What `nest-events` needs. Of Statsig only what `doctor` looks at, and no command needs it."""

    forward_subscription: Name
    dead_letter_topic: Name
    dead_letter_subscription: Name

    statsig_server_secret: SecretStr | None = None
    statsig_api_url: HttpAddress = STATSIG_URL


AnySettings = TypeVar("AnySettings", bound=Settings)


def from_environment(cls: type[AnySettings], environment: Mapping[str, str]) -> AnySettings:
    """Build settings from environment variables; an empty variable counts as unset.

    Raises:
        SettingsError: lists every variable that is missing or wrong, never a value.
    """
    values: dict[str, Any] = {
        field.alias: environment[field.alias]
        for field in cls.model_fields.values()
        if field.alias and environment.get(field.alias)
    }
    values["ON_CLOUD_RUN_DERIVED"] = any(environment.get(name) for name in CLOUD_RUN_VARIABLES)
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems = [_problem(item["loc"], item["type"], item["msg"]) for item in error.errors(include_input=False)]
        raise SettingsError("the environment is not valid:\n" + "\n".join(f"  {line}" for line in problems)) from None


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in location)
    if kind == "missing":
        return f"{name} must be set"
    text = message.removeprefix("Value error, ")
    return f"{name} {text}" if text.startswith("must ") else f"{name}: {text}" if name else text

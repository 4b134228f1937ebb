"""Settings that every process has, and how settings are read."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, ValidationInfo, field_validator

from shared.errors import SettingsError
from shared.events.forward_ledger import DEFAULT_SHARDS

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

HttpAddress = Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]+$")]
"""An http or https address that a path can be appended to."""

STATSIG_URL: Final = "https://events.statsigapi.net/v1"

CLOUD_RUN_VARIABLES: Final = ("K_SERVICE", "CLOUD_RUN_WORKER_POOL", "CLOUD_RUN_JOB")
"""Set by Cloud Run for services, worker pools and jobs."""


class Settings(BaseModel):
    """Settings of every process. The variable of a field is the field's name in upper case."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=str.upper,
        populate_by_name=False,
        hide_input_in_errors=True,
        extra="ignore",
        allow_inf_nan=False,
    )

    on_cloud_run: bool = Field(default=False, alias="ON_CLOUD_RUN_DERIVED")
    """Derived from CLOUD_RUN_VARIABLES, never set by hand. Comes first, because validators of later fields use it."""

    google_cloud_project: Name
    spanner_instance: Name
    spanner_database: Name
    spanner_database_role: Name | None = None
    """The fine-grained access role to act in (deploy/spanner/roles/). Unset: only IAM on the database decides."""

    spanner_emulator_host: Name | None = None
    """Google's own variable, `host:port`; its client library reads it too. Refused on Cloud Run."""

    pubsub_emulator_host: Name | None = None
    """As above, for Pub/Sub."""

    forward_topic: Name
    """A topic's short name, in GOOGLE_CLOUD_PROJECT."""

    forward_shards: int = Field(default=DEFAULT_SHARDS, ge=1, le=1000)
    """Shards of the indexes by time: one for each node or two (cloud.google.com/spanner/docs/schema-design). Must be
    the same for all processes. Can be raised at any time. After lowering it, pending events in a removed shard are not
    reconciled (`nest-events doctor` reports them), and older events are not found by time."""

    log_format: Literal["json", "console"] = "json"
    """`json` has Cloud Logging's fields; `console` is for people."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    commit_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    """The wall-clock bound on one Spanner commit or transaction, retries included. The client's own default is an
    hour (`timeout_secs` bounds retries of ABORTED only); Spanner's p99 is some tens of milliseconds."""

    publish_timeout_seconds: float = Field(default=1.0, gt=0, le=60)
    """The bound on one publish. No caller waits for a publish, and a failed one only delays the event. But committed
    events gather behind it, and a process that shuts down has little time left for it."""

    otel_exporter_otlp_endpoint: HttpAddress | None = None
    """OpenTelemetry's own variable: the base address of an OTLP/HTTP receiver, which is a collector or
    `https://telemetry.googleapis.com`. Only Google's receives Google credentials. Unset: no traces and no metrics."""

    otel_traces_sampler_arg: float = Field(default=1.0, ge=0, le=1)
    """The share of traces that begin here and are recorded. A caller's own trace is recorded if the caller sampled
    it."""

    otel_metric_export_interval: int = Field(default=60_000, ge=100)
    """Milliseconds between two exports of metrics."""

    @field_validator("spanner_emulator_host", "pubsub_emulator_host")
    @classmethod
    def _not_on_cloud_run(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("on_cloud_run"):
            raise ValueError("must not be set on Cloud Run")
        return value


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

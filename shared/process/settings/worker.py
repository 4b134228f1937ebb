"""Settings of the worker."""

from typing import Final, Self

from pydantic import Field, SecretStr, model_validator

from shared.process.settings.common import STATSIG_URL, HttpAddress, Name, Settings

COMMIT_AND_SETTLE_SECONDS: Final = 5.0
"""The part of a claim that is left for the work before and after sending."""


class WorkerSettings(Settings):
    forward_subscription: Name
    dead_letter_topic: Name

    dead_letter_subscription: Name
    """The worker collects its messages into the dead-letter table."""

    statsig_server_secret: SecretStr

    statsig_api_url: HttpAddress = STATSIG_URL
    """The base that `/log_event` is appended to. Must be the final address: a redirect would look like success."""

    statsig_environment: Name
    """The tier, for example `production`. Has no default: Statsig takes an unset tier for production and bills it."""

    statsig_principal: Name = "service:events"
    """The Statsig user that every event is logged for."""

    statsig_timeout_seconds: int = Field(default=10, ge=1, le=60)
    """Bounds each read of a request. A whole send is bounded by twice this."""

    lanes: int = Field(default=2, ge=1, le=16)
    """Batches in work at once, but for those of spare lanes. From 4 on, one process is bound by the GIL."""

    spare_lanes: int = Field(default=6, ge=0, le=32)
    """Lanes that work only while others wait for a slow answer and Statsig confirms others meanwhile. So an event that
    makes Statsig hang holds up its own batch, and not what comes after it."""

    batch_events: int = Field(default=500, ge=1, le=500)
    """Most messages of one pull, and most events of one request. Statsig takes no more than 500."""

    pulls: int = Field(default=4, ge=1, le=32)
    """Pulls outstanding at once. Each is answered after 10 to 100 ms, mostly with fewer messages than it asked for."""

    pull_ahead_messages: int = Field(default=1000, ge=1, le=10_000)
    """More messages are pulled while fewer than this wait for a lane, and less than 32 MiB. They are leased and held in
    memory; pulls that are outstanding at the limit may bring more."""

    ledger_rows: int = Field(default=100, ge=1, le=500)
    """Most rows of one claim or settlement; a batch is divided among concurrent ones. More rows make fewer calls, but
    each writes to more of Spanner's splits."""

    retry_budget_seconds: float = Field(default=20.0, ge=1, le=300)
    """How long one batch is retried, pauses included, before its messages are held: they stay leased, and are tried
    again in a later batch."""

    claim_seconds: float = Field(default=90.0, ge=1, le=3600)
    """How long a claim lasts if its worker dies. Must outlast a batch: the retry budget and one more send."""

    circuit_probe_seconds: float = Field(default=5.0, gt=0, le=600)
    """The wait before the first probe of an open circuit; it doubles up to ten times this. After a rejected one it is
    0.25 s."""

    suspect_attempts: int = Field(default=6, ge=2, le=20)
    """How often an event must fail alone, while others are confirmed, before it is dead-lettered. Where events that are
    confirmed in the end fail alone too, it must fail that many times more, up to twice as often. An event that Statsig
    rejects for its content (400, 413, 422) needs one failure."""

    suspect_backoff_seconds: float = Field(default=15.0, gt=0, le=600)
    """The pause before the first trial of an event that failed alone; it doubles each time. After six failures an event
    has failed for eight minutes."""

    reconcile_after_seconds: float = Field(default=60.0, gt=0)
    """How long a ledger row may be pending before its message is published again."""

    reconcile_interval_seconds: float = Field(default=30.0, gt=0)
    """The pause between two rounds of the reconciler, jittered by half."""

    reconcile_events_per_second: float = Field(default=500.0, gt=0)
    """Most events that the reconciler republishes a second, so that a backlog drains without a storm."""

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

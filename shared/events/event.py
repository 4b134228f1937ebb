"""The event, as every part of the service knows it after normalization. Imports nothing of ours."""

import enum
from dataclasses import dataclass
from typing import Any, Final

RESERVED_METADATA_KEY: Final = "_eventLog"
"""The top-level metadata key that belongs to the service: caller context, schema version, and the trace
where one is recorded."""


class CallerSource(enum.StrEnum):
    """How the caller's identity was established, in falling order of trust. Recorded, never used to authorize."""

    IAP_ASSERTION = "iap_assertion"
    """A signed assertion of Identity-Aware Proxy, verified by us."""

    CLOUD_RUN_IAM = "cloud_run_iam"
    """The identity in the bearer token that Cloud Run's IAM check has admitted; where TRUST_CLOUD_RUN_IAM says so."""

    UNVERIFIED_TOKEN = "unverified_token"  # noqa: S105 - a word, not a credential
    """The identity in a bearer token that nobody is known to have checked."""

    UNVERIFIED_HEADER = "unverified_header"
    """A plain `x-goog-authenticated-user-*` header, which anyone who may call could have written."""

    NONE = "none"
    """Nothing usable was presented."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called the RPC."""

    principal: str
    """An e-mail address, or a subject where there is none; empty with source NONE."""

    source: CallerSource

    subject: str = ""
    """The stable id of the identity, where the credential has one: an e-mail address can change hands, this cannot.
    Scopes idempotency keys, and is neither stored nor logged."""


ANONYMOUS: Final = Caller(principal="", source=CallerSource.NONE)


@dataclass(frozen=True, slots=True)
class Event:
    """A normalized event: what is stored, published and sent to Statsig."""

    event_id: str
    """A UUID in canonical lower-case form."""

    event_name: str
    event_type: str | None
    actor_id: str | None

    event_ts_nanos: int
    """Nanoseconds since the Unix epoch, within Spanner's range."""

    metadata: dict[str, Any]
    """The caller's part, finite and NUL-free, without RESERVED_METADATA_KEY. Never mutated."""

    traceparent: str | None = None
    """The W3C trace context under which it was logged, where that is recorded (shared/telemetry/tracing.py)."""


@dataclass(frozen=True, slots=True)
class EventLogRow:
    """One row of NestEventLog to be: the event and what the service adds to it."""

    event: Event

    metadata_json: str
    """The canonical text of the event's metadata together with the service's own `_eventLog`."""

    request_digest: str
    """SHA-256 of what the caller sent, in hexadecimal: tells a retry from a reuse of its key."""

    caller: str | None
    """The calling principal, where one was established; also in `_eventLog`, with how it was established."""

    write_id: str
    """A UUID of the call that writes the row: tells its own write, whose answer was lost, from an earlier call's."""

    forward_to_statsig: bool
    """Whether a forward ledger row is born with it."""

    request_id: str | None = None
    """Of the call, by which its caller and the log know it; several events of a LogEvents share one."""

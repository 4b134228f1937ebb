"""The event, as every part of the service handles it after normalization."""

import enum
from dataclasses import dataclass
from typing import Any, Final

RESERVED_METADATA_KEY: Final = "_eventLog"
"""The top-level metadata key that belongs to the service: caller, schema version, and the traceparent if there is
one."""


class CallerSource(enum.StrEnum):
    """How the caller's identity was established, in falling order of trust. Recorded, never used to authorize."""

    IAP_ASSERTION = "iap_assertion"
    """A signed assertion of Identity-Aware Proxy, verified by us."""

    CLOUD_RUN_IAM = "cloud_run_iam"
    """The identity in a bearer token that Cloud Run's IAM check admitted; only with TRUST_CLOUD_RUN_IAM."""

    UNVERIFIED_TOKEN = "unverified_token"  # noqa: S105 - a word, not a credential
    """The identity in a bearer token that may not have been checked."""

    UNVERIFIED_HEADER = "unverified_header"
    """A plain `x-goog-authenticated-user-*` header, which any caller can write."""

    NONE = "none"
    """Nothing usable was presented."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called the RPC."""

    principal: str
    """An e-mail address, else a subject; empty with source NONE."""

    source: CallerSource

    subject: str = ""
    """The stable id of the identity, if the credential has one. Unlike an e-mail address it cannot change hands, so it
    scopes idempotency keys. Not stored or logged, unless it is the principal."""


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
    """The caller's metadata, without NaN, infinities, NUL and RESERVED_METADATA_KEY. Never mutated."""

    traceparent: str | None = None
    """Continues the trace of the call that logged the event; None if it is not sampled (shared/traceparent.py)."""

    caller: str | None = None
    """The calling principal, if one was established. Operators' rules choose by it; Statsig does not get it."""


@dataclass(frozen=True, slots=True)
class EventLogRow:
    """A row of NestEventLog before it is written: the event, and what the service adds to it.

    The event's caller is a column, and is in `_eventLog` with its CallerSource.
    """

    event: Event

    metadata_json: str
    """The event's metadata with the service's own `_eventLog`, as JSON text."""

    request_digest: str
    """SHA-256 of what the caller sent, in hexadecimal. Distinguishes a retry from a reuse of the idempotency key."""

    write_id: str
    """A UUID, new in each call. Distinguishes a call's own write, whose answer was lost, from an earlier call's."""

    forward_to_statsig: bool
    """Whether a pending forward ledger row is written with this one."""

    request_id: str | None = None
    """The id of the call, as in its answer and in the log. All events of one LogEvents share it."""

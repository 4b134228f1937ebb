"""Settings of the ingress."""

from typing import Final

from pydantic import Field

from shared.process.settings.common import Name, Settings

MAX_METADATA_BYTES: Final = 65_536
"""The contract in proto/: bytes of one event's metadata as compact JSON."""


class IngressSettings(Settings):
    host: Name = "0.0.0.0"  # noqa: S104 - a container's only interface
    """The address to listen on."""

    port: int = Field(default=8080, ge=0, le=65535)
    """0 takes any free port, which is then in the log."""

    forward_by_default: bool = True
    """The value of a `forward_to_statsig` that a request leaves unset."""

    max_metadata_bytes: int = Field(default=MAX_METADATA_BYTES, ge=2, le=MAX_METADATA_BYTES)
    """Bytes of the caller's metadata as compact JSON. The maximum is the contract in proto/; lower it to be
    stricter."""

    max_request_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=32 * 1024 * 1024)
    """Bytes of one request, also after decompression. Times the server's concurrency this must fit into memory."""

    max_event_bytes: int = Field(default=1024 * 1024, ge=1024, le=32 * 1024 * 1024)
    """Bytes of a LogEvent, and of each event of a LogEvents, also after decompression. A valid event needs at most
    600 KiB: JSON may use six characters for each of 65,536, and twelve for each of four times 4,096."""

    max_body_bytes_in_flight: int = Field(default=64 * 1024 * 1024, ge=1024)
    """Bytes that the bodies of all calls in flight may have together as they arrive, until the calls end: sixteen of
    the largest. MAX_DECODED_BYTES bounds what is decoded from them. Callers share the budget: one alone gets half. A
    body above it is refused with `resource_exhausted`, before it is read if its length is known. With nothing in flight
    any body is admitted."""

    max_request_values: int = Field(default=100_000, ge=1000)
    """Values in one LogEvents: objects, lists, texts, numbers, true, false and null. 500 events of 100 keys have
    50,000. Each takes some microseconds of the event loop. The values of one event are bounded by its metadata's
    bytes."""

    max_gzip_members: int = Field(default=100, ge=1)
    """Gzip members of one body. Usual clients make one; block-wise gzip makes one for every 64 KiB, 65 for 4 MiB."""

    max_decoded_bytes: int = Field(default=1024 * 1024 * 1024, ge=1024)
    """Memory that the bodies in flight may take together once decoded, estimated from their number of values. More is
    refused with `resource_exhausted`. With nothing in flight any body is admitted."""

    commit_concurrency: int = Field(default=4, ge=1, le=64)
    """Commits in flight at once. While all are, arriving rows wait and share the next commit. Against an emulator the
    default is 1: it works on one commit at a time and aborts others, while Spanner runs them side by side."""

    commit_rows: int = Field(default=64, ge=1, le=1000)
    """Most rows of one commit; later rows wait for it. A row costs 10 us more in a commit of 64 rows than in one of
    256, but the commit touches fewer of Spanner's splits."""

    commit_queue_rows: int = Field(default=8192, ge=2)
    """Rows that may wait for a commit; more are refused with `resource_exhausted`. Callers share the queue: each may
    have as many rows as are still free, so one alone gets half, and another one always finds room."""

    commit_queue_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """As above, in bytes of memory: the tighter bound for events that are large or have many values."""

    caller_events_per_second: float | None = Field(default=None, gt=0)
    """Events of one caller that this process takes a second; more are refused with `resource_exhausted`. Unset: no
    limit. A call is taken whole or not at all; a call that exceeds the limit delays the caller's next ones."""

    request_read_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """How long a client may take to send the body of a request."""

    idle_timeout_seconds: float = Field(default=75.0, gt=0, le=3600)
    """How long a connection may be silent between two requests, or within the head of one; the server has one bound for
    both. Longer than the usual client and load balancer keep a connection (60 s), so that they close it: a server that
    closes first races with the next request. A new connection has REQUEST_READ_TIMEOUT_SECONDS to begin its first
    request."""

    write_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """How long a client may read nothing of its answer."""

    max_head_bytes: int = Field(default=65_536, ge=1024, le=1024 * 1024)
    """Bytes of a request's target and headers. Cloud Run's own front end takes no more."""

    max_headers: int = Field(default=100, ge=16, le=10_000)

    max_connections: int = Field(default=4000, ge=1)
    """Open connections; more wait to be accepted. There are fewer where the hard limit of open files is too low. An
    idle one takes 4 KiB, one whose head is arriving up to MAX_HEAD_BYTES. Cloud Run needs one for each concurrent call
    (64), no more."""

    trust_cloud_run_iam: bool = False
    """Whether the identity in a bearer token is recorded as checked by Cloud Run's IAM. Set it only if the service
    requires authentication; it cannot be derived: a service on Cloud Run may admit everybody, and an unchecked token
    can say anything."""

    iap_audience: Name | None = None
    """The expected audience of IAP's signed assertion. Unset: assertions are ignored."""

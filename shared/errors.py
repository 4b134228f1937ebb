"""The one error tree.

An adapter translates a foreign exception into one of these where it made the call: no exception of a Google or Statsig
library passes a port. The class decides what an RPC answers (`ingress/error_codes.py`) and how the worker goes on.
"""

from dataclasses import dataclass
from typing import ClassVar


class EventLoggingError(Exception):
    """The root of every error that the service raises on purpose."""

    reason: ClassVar[str] = "internal"
    """A stable word for logs, metrics and attributes."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One broken rule of a request. Names the field and the rule, never the value."""

    field: str
    rule: str
    description: str


class InvalidEventError(EventLoggingError):
    """The request breaks at least one rule; sending it again unchanged cannot help."""

    reason = "invalid_event"

    def __init__(self, violations: tuple[FieldViolation, ...]) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = violations


class MalformedRequestError(EventLoggingError):
    """A request, or one event in it, does not have the format that it should have; it was not written."""

    reason = "malformed_request"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the body {problem}")
        self.problem = problem


class RequestTooLargeError(EventLoggingError):
    """A request, or one event in it, has more bytes or values than a valid one can have; it was not written."""

    reason = "request_too_large"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the body {problem}")
        self.problem = problem


class RefusedByRuleError(EventLoggingError):
    """An operator's rule refuses such events for now; nothing was written."""

    reason = "refused_by_rule"

    def __init__(self, rule_id: str, why: str) -> None:
        super().__init__(f"rule {rule_id} of an operator refuses this event: {why}")


class IdempotencyConflictError(EventLoggingError):
    """The same caller used the idempotency key before, for other content."""

    reason = "idempotency_conflict"

    def __init__(self) -> None:
        super().__init__("idempotency_key was already used for an event with other content")


class OverloadedError(EventLoggingError):
    """More is in flight than the process accepts; nothing was written."""

    reason = "overloaded"

    def __init__(self, message: str = "too many events are waiting to be written; nothing was written") -> None:
        super().__init__(message)


class CallerOverloadedError(OverloadedError):
    """One caller has more in flight than its share, or sends more than its rate limit; nothing was written.

    Other callers are served meanwhile.
    """

    reason = "caller_overloaded"

    def __init__(self, message: str = "too many events of this caller are waiting; nothing was written") -> None:
        super().__init__(message)


class DrainingError(EventLoggingError):
    """The process is shutting down; nothing was written."""

    reason = "draining"

    def __init__(self) -> None:
        super().__init__("this instance is shutting down; nothing was written")


class RequestReadTimeoutError(EventLoggingError):
    """The client took too long to send its request; nothing was written."""

    reason = "request_read_timeout"


class UncheckedCallerError(EventLoggingError):
    """The caller's assertion cannot be checked at the moment, so the owner of its idempotency key is unknown.

    Nothing was written.
    """

    reason = "unchecked_caller"

    def __init__(self) -> None:
        super().__init__("idempotency_key cannot be used now: the caller's assertion cannot be checked; try again")


class StorageUnavailableError(EventLoggingError):
    """Spanner cannot be reached or did not answer in time.

    The outcome of a commit is then unknown: it may have happened. Retry it under the same key, or read.
    """

    reason = "storage_unavailable"


class StoragePreconditionError(StorageUnavailableError):
    """Spanner refused a statement with FAILED_PRECONDITION; nothing was written.

    The cause is mostly the state of the database. But Spanner answers the same to a value that does not fit its column
    (too long, NULL, not JSON); only another statement that succeeds shows that the database is not the cause.
    """

    reason = "storage_precondition"


class StorageRejectedError(EventLoggingError):
    """Spanner refused a statement for its content, whatever the state of the database: a retry cannot help."""

    reason = "storage_rejected"


class RowExistsError(EventLoggingError):
    """At least one row of the commit has a key that exists already; nothing of the commit was written.

    The client's own retry of an insert that succeeded gets this answer too (googleapis/python-spanner#1451): compare
    the write_id.
    """

    reason = "row_exists"


class SchemaMismatchError(EventLoggingError):
    """The database has no schema, or one that lacks what this code needs."""

    reason = "schema_mismatch"


class PublishFailedError(EventLoggingError):
    """Pub/Sub did not confirm a publish; the messages may have been published all the same."""

    reason = "publish_failed"


class SubscriptionUnavailableError(EventLoggingError):
    """A pull, an ack or a lease extension failed or was not answered in time."""

    reason = "subscription_unavailable"


class UndecodableMessageError(EventLoggingError):
    """The bytes of a message are not a ForwardMessage that this version understands."""

    reason = "undecodable"


class SettingsError(EventLoggingError):
    """The configuration of the process is not valid. The message names the settings to fix."""

    reason = "settings"

"""The one error tree.

An adapter translates a foreign exception into one of these where it made the call; nothing of google or statsig
crosses a port. The class decides both what an RPC answers (`ingress/error_codes.py`) and what becomes of a message.
"""

from dataclasses import dataclass
from typing import ClassVar


class EventLoggingError(Exception):
    """The root of every error that the service raises on purpose."""

    reason: ClassVar[str] = "internal"
    """A stable word for logs, metrics and attributes."""

    transient: ClassVar[bool] = False
    """Whether the same attempt may succeed later without anybody changing anything."""


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
    """The bytes of a request, or of one event in it, are not what their format asks for; nothing was written."""

    reason = "malformed_request"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the body {problem}")
        self.problem = problem


class RequestTooLargeError(EventLoggingError):
    """A request, or one event in it, has more bytes or values than what is valid can have; nothing was written."""

    reason = "request_too_large"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the body {problem}")
        self.problem = problem


class IdempotencyConflictError(EventLoggingError):
    """The idempotency key was used before, by the same caller, for other content."""

    reason = "idempotency_conflict"

    def __init__(self) -> None:
        super().__init__("idempotency_key was already used for an event with other content")


class OverloadedError(EventLoggingError):
    """More is in flight than the process accepts; nothing was written."""

    reason = "overloaded"
    transient = True

    def __init__(self, message: str = "too many events are waiting to be written; nothing was written") -> None:
        super().__init__(message)


class CallerOverloadedError(OverloadedError):
    """One caller has more in flight than its share, or asks for more than its limit; nothing was written.

    It waits behind its own calls: others are served meanwhile.
    """

    reason = "caller_overloaded"

    def __init__(self, message: str = "too many events of this caller are waiting; nothing was written") -> None:
        super().__init__(message)


class DrainingError(EventLoggingError):
    """The process is shutting down; nothing was written."""

    reason = "draining"
    transient = True

    def __init__(self) -> None:
        super().__init__("this instance is shutting down; nothing was written")


class RequestReadTimeoutError(EventLoggingError):
    """The client took too long to send its request; nothing was written."""

    reason = "request_read_timeout"
    transient = True


class UncheckedCallerError(EventLoggingError):
    """The caller's assertion cannot be checked now, so that what its idempotency key belongs to is not known.

    Nothing was written.
    """

    reason = "unchecked_caller"
    transient = True

    def __init__(self) -> None:
        super().__init__("idempotency_key cannot be used now: the caller's assertion cannot be checked; try again")


class StorageUnavailableError(EventLoggingError):
    """Spanner cannot be reached or did not answer in time.

    For a commit this leaves the outcome unknown: it may have happened. Only a retry under the same key, or a read,
    tells.
    """

    reason = "storage_unavailable"
    transient = True


class StoragePreconditionError(StorageUnavailableError):
    """Spanner refused a statement with FAILED_PRECONDITION; nothing of it was written.

    Mostly the state of the database, but a value that its column does not hold is answered so too (too long, NULL, not
    JSON): only a comparison with a statement that succeeds tells.
    """

    reason = "storage_precondition"


class StorageRejectedError(EventLoggingError):
    """Spanner refused a statement for what it says, not for its state: retrying it unchanged cannot help."""

    reason = "storage_rejected"


class RowExistsError(EventLoggingError):
    """At least one row of the commit has a key that exists already; nothing of the commit was written.

    Also the answer to a retried insert of one's own row (googleapis/python-spanner#1451): compare the write_id.
    """

    reason = "row_exists"


class SchemaMismatchError(EventLoggingError):
    """The database's schema is absent or not the one that this code was written for."""

    reason = "schema_mismatch"


class PublishFailedError(EventLoggingError):
    """Pub/Sub did not confirm a publish; the messages may have been published all the same."""

    reason = "publish_failed"
    transient = True


class SubscriptionUnavailableError(EventLoggingError):
    """Pub/Sub did not answer a pull, an acknowledgement or a lease extension."""

    reason = "subscription_unavailable"
    transient = True


class UndecodableMessageError(EventLoggingError):
    """The bytes of a message are not a ForwardMessage that this version understands."""

    reason = "undecodable"


class SettingsError(EventLoggingError):
    """The environment does not make a valid configuration; the message lists every problem."""

    reason = "settings"

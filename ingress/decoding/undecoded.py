"""Requests before they are decoded, and what is known of them by then.

connectrpc decodes synchronously. So the codecs pass the bytes on (`ingress/decoding/codec.py`), and an interceptor
decodes them in slices, one event after the other (`ingress/interceptors/decoding.py`). The two formats are
`ingress/decoding/json_format.py` and `ingress/decoding/binary_format.py`.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from shared.errors import EventLoggingError
from shared.gen.events.v1.event_logging_pb import LogEventRequest

MAX_EVENTS: Final = 500
"""Of a LogEvents, as proto/ has it. One more is taken out of a body and no further one: it is refused."""

MAX_UNKNOWN_FIELDS: Final = 1000
"""Beside the events of a LogEvents: what a later version of the API may have added."""

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work in pieces, and what it comes to."""


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One event of a LogEvents, as it arrived."""

    data: bytes

    start: int
    """Where in the body it begins."""


class NotInFormatError(Exception):
    """The bytes are not what the format is at all: where events begin and end is not known either."""

    def __init__(self, problem: str, position: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position = position
        """In the bytes that were looked at; says more than the problem."""


class Format(Protocol):
    """JSON or binary protobuf. Nothing here awaits; what is not bounded by one event goes in steps."""

    def weight(self, data: bytes, max_values: int) -> int:
        """The memory that it takes decoded, where it has no more values than that."""
        ...

    def marks(self, data: bytes) -> int:
        """How many bytes are of a kind that values cannot do without.

        No event has more than the compact JSON text of its metadata has bytes, and `rest_of_marks`.
        """
        ...

    @property
    def rest_of_marks(self) -> int: ...

    def may_have_more_values(self, data: bytes, limit: int) -> bool:
        """At a glance: what texts hold counts too."""
        ...

    def values(self, event: bytes) -> Steps[int]:
        """How many there are, keys and the event's own fields left out. About right where it is malformed."""
        ...

    def split(self, data: bytes, max_values: int) -> Iterator[RawEvent | None]:
        """The events of a LogEvents, MAX_EVENTS and one at the most; None where there may be a pause.

        Goes no further than what may be valid with so many values.

        Raises:
            NotInFormatError: the body is malformed, as far as that shows by now.
            EventLoggingError: it is well formed and no LogEvents.
        """
        ...

    def decode(self, event: bytes) -> LogEventRequest | None:
        """One event; None where it does not decode.

        Raises:
            MalformedRequestError: it is nested too deeply.
        """
        ...

    def explain(self, event: bytes, *, is_one_of_many: bool) -> Steps[EventLoggingError]:
        """Why it does not decode.

        Of a binary LogEvent that is said in general only, as proto/ has it for a body that is malformed.

        Raises:
            NotInFormatError: the bytes are not in the format.
        """
        ...

    def malformed(self, body: bytes, error: NotInFormatError, start: int = 0) -> EventLoggingError:
        """What the caller is told of a body in which the bytes from `start` on are not in the format."""
        ...


@dataclass(frozen=True, slots=True)
class Undecoded:
    """The body of a request."""

    data: bytes
    format: Format
    is_batch: bool
    """A LogEvents."""

    is_gzipped: bool = False
    """Still to be decompressed."""


@dataclass(frozen=True, slots=True)
class DecodedEvents:
    """The events of a LogEvents in their order, each decoded or refused."""

    events: list[LogEventRequest | EventLoggingError]
    """Emptied as they are normalized: decoded they take most of what a call takes, and it goes on to wait for a
    commit."""

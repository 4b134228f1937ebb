"""Requests before and after they are decoded, and the port (`Format`) to their two formats.

connectrpc decodes synchronously. So the codecs pass the bytes on (`ingress/decoding/codec.py`), and an interceptor
decodes them in slices, one event after the other (`ingress/interceptors/decoding.py`). The formats are
`ingress/decoding/json_format.py` and `ingress/decoding/binary_format.py`.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from shared.errors import EventLoggingError
from shared.gen.events.v1.event_logging_pb import LogEventRequest

MAX_EVENTS: Final = 500
"""Events of one LogEvents, by the rule in proto/. Of a larger body one more is read, and then it is refused."""

MAX_UNKNOWN_FIELDS: Final = 1000
"""Fields of a LogEvents beside its events, which a later version of the API may have added."""

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work that may pause at each yield, and its result."""


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One event of a LogEvents, as it arrived."""

    data: bytes

    start: int
    """The offset of `data` in the body."""


class NotInFormatError(Exception):
    """The bytes are not in the format at all, so that it is not even known where events begin and end."""

    def __init__(self, problem: str, position: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position = position
        """The offset in the bytes that were read. In JSON it is reported, as line and column, instead of `problem`."""


class Format(Protocol):
    """JSON or binary protobuf. Nothing here awaits; work that is not bounded by one event goes in steps."""

    def weight(self, data: bytes, max_values: int) -> int:
        """An estimate of the memory, in bytes, that the body takes decoded if it has at most so many values."""
        ...

    def marks(self, data: bytes) -> int:
        """The number of bytes of the kinds that values cannot do without, such as separators and brackets.

        No valid event has more than the bytes of its metadata as compact JSON, and `rest_of_marks`.
        """
        ...

    @property
    def rest_of_marks(self) -> int:
        """The most marks that a valid event has outside of its metadata."""
        ...

    def may_have_more_values(self, data: bytes, limit: int) -> bool:
        """A quick upper estimate: whatever looks like a value within texts counts too."""
        ...

    def values(self, event: bytes) -> Steps[int]:
        """The number of values in the event's metadata; keys do not count. Approximate if the event is malformed."""
        ...

    def split(self, data: bytes, max_values: int) -> Iterator[RawEvent | None]:
        """The events of a LogEvents, at most MAX_EVENTS + 1; a None is an opportunity to pause.

        May stop as soon as the body has more values than `max_values`.

        Raises:
            NotInFormatError: the body is malformed, as far as it was read.
            EventLoggingError: it is in the format, but no LogEvents, or too large.
        """
        ...

    def decode(self, event: bytes) -> LogEventRequest | None:
        """One event; None if it does not decode.

        Raises:
            MalformedRequestError: it is nested too deeply.
        """
        ...

    def explain(self, event: bytes, *, is_one_of_many: bool) -> Steps[EventLoggingError]:
        """Why an event does not decode, by field where that can be found out.

        Not by field for a lone event in binary (`is_one_of_many` is False): its whole body counts as malformed.

        Raises:
            NotInFormatError: the bytes are not in the format.
        """
        ...

    def malformed(self, body: bytes, error: NotInFormatError, start: int = 0) -> EventLoggingError:
        """The error for the caller when the bytes of `body` from `start` on are not in the format."""
        ...


@dataclass(frozen=True, slots=True)
class Undecoded:
    """The body of a request, which DecodingInterceptor decodes."""

    data: bytes
    format: Format
    is_batch: bool
    """Whether it is a LogEvents."""

    is_gzipped: bool = False
    """Whether `data` is still compressed."""


@dataclass(frozen=True, slots=True)
class DecodedEvents:
    """The events of a LogEvents in their order, each decoded or refused."""

    events: list[LogEventRequest | EventLoggingError]
    """Emptied while the events are normalized: they are most of a call's memory, which is not needed while it waits for
    its commit."""

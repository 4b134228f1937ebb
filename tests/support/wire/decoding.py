"""Decodes request bodies as the ingress does, without a server and an event loop."""

from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from connectrpc.codec import proto_binary_codec, proto_json_codec

from ingress.call_context import begin_call
from ingress.decoding.binary_format import BinaryFormat
from ingress.decoding.budgets import DecodingBudget
from ingress.decoding.codec import LazyCodec
from ingress.decoding.json_format import JsonFormat
from ingress.decoding.undecoded import DecodedEvents
from ingress.interceptors.decoding import BodyLimits, DecodingInterceptor
from shared.errors import EventLoggingError
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest

JSON: Final = LazyCodec(proto_json_codec(), JsonFormat())
BINARY: Final = LazyCodec(proto_binary_codec(), BinaryFormat())

LIMITS: Final = BodyLimits(
    event_bytes=1024 * 1024,
    request_bytes=4 * 1024 * 1024,
    metadata_bytes=65_536,
    request_values=100_000,
    gzip_members=100,
)

T = TypeVar("T")


class CountedTurns:
    """Counts the turns, and never waits for one."""

    def __init__(self) -> None:
        self.count = 0

    async def turn(self, caller: str) -> None:
        del caller
        self.count += 1


def decode_event(data: bytes, codec: LazyCodec = JSON) -> LogEventRequest:
    """Decode the body of a LogEvent.

    Raises:
        EventLoggingError: it does not decode.
    """
    decoded = _decoded(data, codec, LogEventRequest)
    assert isinstance(decoded, LogEventRequest)
    return decoded


def decode_events(data: bytes, codec: LazyCodec = JSON) -> Sequence[LogEventRequest | EventLoggingError]:
    """Decode the body of a LogEvents: each event, or the error of one that does not decode.

    Raises:
        EventLoggingError: the body is refused as a whole.
    """
    decoded = _decoded(data, codec, LogEventsRequest)
    assert isinstance(decoded, DecodedEvents)
    return decoded.events


def _decoded(data: bytes, codec: LazyCodec, message_class: type[Any]) -> Any:
    begin_call()
    interceptor = DecodingInterceptor(limits=LIMITS, budget=DecodingBudget(2**30), turns=CountedTurns())
    context: Any = None
    return finished(interceptor.intercept_unary(_itself, codec.decode(data, message_class), context))


async def _itself(request: Any, context: object) -> Any:
    del context
    return request


def finished(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never waits, and returns its result."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")

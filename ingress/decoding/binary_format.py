"""Requests in binary protobuf: split into events, counted and decoded.

The wire format (protobuf.dev/programming-guides/encoding): a field is a tag (its number and wire type) and a value. A
nested message is a length and so many bytes.
"""

from collections.abc import Iterator
from typing import Final

from ingress.decoding.undecoded import MAX_EVENTS, MAX_UNKNOWN_FIELDS, NotInFormatError, RawEvent, Steps
from shared.errors import (
    EventLoggingError,
    FieldViolation,
    InvalidEventError,
    MalformedRequestError,
    RequestTooLargeError,
)
from shared.gen.events.v1.event_logging_pb import LogEventRequest

VALUE_BYTES: Final = 360
"""Memory of one value decoded (protobuf-py 0.7): measured for an empty object in a list."""

REST_OF_MARKS: Final = 18_432
"""Marks of an event outside of its metadata: its four texts may have 4,096 characters each before trimming."""

_MARKS: Final = b"\x0a\x8a\x2a\x32"
"""Entries of lists and objects begin with 0x0A (or 0x8A, if the field number is encoded longer than necessary), an
object or list within with 0x2A or 0x32. Within a text each of these bytes is at least one byte of the JSON text too."""

MAX_EVENT_FIELDS: Final = 1000
"""Fields of an event itself, which has seven. One field repeated many times is as slow to read as many values."""

FIELDS_PER_STEP: Final = 1000
"""Fields between two opportunities to pause."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}
_TAG_BITS: Final = 3
_MORE: Final = 0x80
_LONGEST_VARINT: Final = 10

_EVENTS: Final = 1
_REQUEST, _STRUCT, _ENTRY, _VALUE, _LIST = range(5)
_WITHIN: Final = {
    (_REQUEST, 5): _STRUCT,
    (_STRUCT, 1): _ENTRY,
    (_ENTRY, 2): _VALUE,
    (_VALUE, 5): _STRUCT,
    (_VALUE, 6): _LIST,
    (_LIST, 1): _VALUE,
}
"""The fields that lead from LogEventRequest to its values, and the message type of each: metadata, which is a
Struct."""


class BinaryFormat:
    """The `Format` of binary protobuf."""

    rest_of_marks = REST_OF_MARKS

    def weight(self, data: bytes, max_values: int) -> int:
        return len(data) + VALUE_BYTES * min(_entries(data), max_values)

    def marks(self, data: bytes) -> int:
        if _has_more_fields(data, MAX_EVENT_FIELDS):
            return len(data)
        return len(data) - len(data.translate(None, _MARKS))

    def may_have_more_values(self, data: bytes, limit: int) -> bool:
        return _entries(data) > limit

    def values(self, event: bytes) -> Steps[int]:
        values = fields = 0
        places = [(_REQUEST, 0, len(event))]
        while places:
            kind, position, end = places.pop()
            values += kind == _VALUE
            while position < end:
                try:
                    number, start, position = _field(event, position, end)
                except NotInFormatError:
                    return values  # it will not decode
                within = _WITHIN.get((kind, number))
                if within is not None:
                    places.append((within, start, position))
                fields += 1
                if fields % FIELDS_PER_STEP == 0:
                    yield
        return values

    def split(self, data: bytes, max_values: int) -> Iterator[RawEvent | None]:
        del max_values  # events are not looked into
        position = events = unknown = 0
        while position < len(data):
            number, start, position = _field(data, position, len(data))
            if number == _EVENTS:
                events += 1
                yield RawEvent(data[start:position], start)
                if events > MAX_EVENTS:
                    return
            else:
                unknown += 1
                if unknown > MAX_UNKNOWN_FIELDS:
                    raise RequestTooLargeError("has too many unknown fields")

    def decode(self, event: bytes) -> LogEventRequest | None:
        try:
            # Unknown fields, if kept, would take 22 times their size.
            return LogEventRequest.from_binary(event, ignore_unknown_fields=True)
        except (ValueError, TypeError, RecursionError, OverflowError):
            return None

    def explain(self, event: bytes, *, is_one_of_many: bool) -> Steps[EventLoggingError]:
        yield
        violations = tuple(self._wrong_fields(event)) if is_one_of_many else ()
        return InvalidEventError(violations) if violations else MalformedRequestError("is not a binary LogEventRequest")

    def _wrong_fields(self, event: bytes) -> Iterator[FieldViolation]:
        """The fields that do not decode by themselves; none if that cannot be found out."""
        names = {field.number: field.name for field in LogEventRequest.desc().fields}
        position = 0
        try:
            while position < len(event):
                start = position
                number, _, position = _field(event, start, len(event))
                if number in names and self.decode(event[start:position]) is None:
                    yield FieldViolation(names[number], "type", "must be a valid value of its type")
        except NotInFormatError:
            return

    def malformed(self, body: bytes, error: NotInFormatError, start: int = 0) -> EventLoggingError:
        del body, start
        return MalformedRequestError(error.problem)


def _has_more_fields(event: bytes, limit: int) -> bool:
    position = fields = 0
    try:
        while position < len(event) and fields <= limit:
            _, _, position = _field(event, position, len(event))
            fields += 1
    except NotInFormatError:
        return False  # it will not decode
    return fields > limit


def _entries(data: bytes) -> int:
    return data.count(b"\x0a") + data.count(b"\x8a")


def _field(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """The field that begins at `position`: its number, and where its value begins and ends."""
    tag, start = _varint(data, position, end)
    match tag & 0b111:
        case 2:  # _BYTES
            size, start = _varint(data, start, end)
            after = start + size
        case 0:  # _VARINT
            _, after = _varint(data, start, end)
        case kind if kind in _FIXED:
            after = start + _FIXED[kind]
        case _:
            raise _not_binary()  # groups, which proto3 does not have, or an unknown wire type
    if after > end or not tag >> _TAG_BITS:
        raise _not_binary()
    return tag >> _TAG_BITS, start, after


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for at in range(position, min(end, position + _LONGEST_VARINT)):
        byte = data[at]
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return value, at + 1
        shift += 7
    raise _not_binary()


def _not_binary() -> NotInFormatError:
    return NotInFormatError("is not a binary LogEventsRequest")

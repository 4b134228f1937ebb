"""Requests in proto JSON: counted, decoded, and explained if they do not decode.

`ingress/decoding/json_scanning.py` splits a LogEvents; its events are decoded one by one.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from connectrpc.codec import proto_json_codec
from protobuf import DescField, DescFieldValueMessage, DescFieldValueScalar, ScalarType

from ingress.decoding.json_scanning import Scanner
from ingress.decoding.undecoded import NotInFormatError, RawEvent, Steps
from ingress.normalization import MAX_NESTING
from shared.errors import EventLoggingError, FieldViolation, InvalidEventError, MalformedRequestError
from shared.events.json_nesting import has_more_levels, is_nested_too_deeply, without_texts
from shared.gen.events.v1.event_logging_pb import LogEventRequest

VALUE_BYTES: Final = 200
"""Memory of one value decoded (protobuf-py 0.7): measured 186 for a number in a list, 325 for an empty object, which
counts twice."""

REST_OF_MARKS: Final = 2048
"""Marks of an event outside of its metadata: its other texts keep 768 characters after trimming, and there are field
names."""

TOKENS_PER_VALUE: Final = 3
"""An object or list has two brackets, and a long text counts as one more."""

_MARKS: Final = b'",:[]{}'
"""The bytes that JSON values cannot do without."""

_FAILURES: Final = (ValueError, TypeError, RecursionError, OverflowError)

_EXPECTED_MESSAGES: Final = {
    "google.protobuf.Timestamp": "must be an RFC 3339 timestamp within the years 0001 to 9999",
    "google.protobuf.Struct": "must be a JSON object without NaN or infinities, at most 32 levels deep",
}
_EXPECTED_SCALARS: Final = {ScalarType.STRING: "must be a string", ScalarType.BOOL: "must be true or false"}

_METADATA: Final = "metadata"

_codec = proto_json_codec()
_explaining = json.JSONDecoder(parse_int=float)


class JsonFormat:
    """The `Format` of proto JSON."""

    rest_of_marks = REST_OF_MARKS

    def weight(self, data: bytes, max_values: int) -> int:
        # An object counts twice, so at most twice as many as there may be values.
        return len(data) + VALUE_BYTES * min(_separators(data), 2 * max_values)

    def marks(self, data: bytes) -> int:
        return len(data) - len(data.translate(None, _MARKS))

    def may_have_more_values(self, data: bytes, limit: int) -> bool:
        return _separators(data) > limit

    def values(self, event: bytes) -> Steps[int]:
        yield
        structure = without_texts(event).translate(None, b" \t\n\r")
        # An empty object or list counts twice: by its bracket, and by the comma that may follow.
        empty = structure.count(b"{}") + structure.count(b"[]")
        return max(0, _separators(structure) - empty - len(LogEventRequest.desc().fields))

    def split(self, data: bytes, max_values: int) -> Iterator[RawEvent | None]:
        return Scanner(data, TOKENS_PER_VALUE * max_values).events()

    def decode(self, event: bytes) -> LogEventRequest | None:
        if is_nested_too_deeply(event):
            raise MalformedRequestError("is nested too deeply")
        try:
            decoded: LogEventRequest = _codec.decode(event, LogEventRequest)
        except _FAILURES:
            return None
        return decoded

    def explain(self, event: bytes, *, is_one_of_many: bool) -> Steps[EventLoggingError]:
        del is_one_of_many
        fields = _loaded(event)
        yield
        if not isinstance(fields, dict):
            return MalformedRequestError("must be a JSON object")
        violations = []
        for name, value in fields.items():
            expected = _fields().get(name)
            if expected is not None and not (_is_struct(value) if name == _METADATA else _decodes({name: value})):
                violations.append(FieldViolation(name, "type", expected))
            yield
        if violations:
            return InvalidEventError(tuple(violations))
        return MalformedRequestError("is not valid proto JSON")

    def malformed(self, body: bytes, error: NotInFormatError, start: int = 0) -> EventLoggingError:
        if error.position is None:
            return MalformedRequestError(error.problem)
        before = body[: start + error.position]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
        return MalformedRequestError(f"is not valid JSON (line {line}, column {column})")


def _separators(data: bytes) -> int:
    return data.count(b",") + data.count(b"{") + data.count(b"[")


def _loaded(event: bytes) -> Any:
    """The JSON value. Integers as doubles: an int of more than 4,300 digits makes Python raise an error of its own."""
    try:
        text = event.decode()
    except UnicodeDecodeError:
        raise NotInFormatError("is not valid UTF-8") from None
    try:
        return _explaining.decode(text)
    except json.JSONDecodeError as error:
        raise NotInFormatError("", len(text[: error.pos].encode())) from None


@cache
def _fields() -> dict[str, str]:
    """What each field must be, by its name in proto/ and by its JSON name."""
    return {name: _expected(field) for field in LogEventRequest.desc().fields for name in (field.name, field.json_name)}


def _expected(field: DescField) -> str:
    match field.value:
        case DescFieldValueMessage(message=message) if message.type_name in _EXPECTED_MESSAGES:
            return _EXPECTED_MESSAGES[message.type_name]
        case DescFieldValueScalar(scalar=scalar) if scalar in _EXPECTED_SCALARS:
            return _EXPECTED_SCALARS[scalar]
        case _:
            return "must be a valid value of its type"


def _is_struct(value: Any) -> bool:
    """`_decodes` for metadata in a fifth of the time: decoding it again would hold the event loop for too long."""
    if value is None:
        return True
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:  # not finite, or a lone surrogate
        return False
    return isinstance(value, dict) and not has_more_levels(text, MAX_NESTING)


def _decodes(fields: dict[str, Any]) -> bool:
    """Whether an event of these fields alone decodes."""
    try:
        _codec.decode(json.dumps(fields).encode(), LogEventRequest)
    except _FAILURES:
        return False
    return True

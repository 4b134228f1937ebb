"""The codecs, with errors that a caller can act on.

The runtime's own texts name neither the field nor, for JSON, always the place, and connectrpc would pass them on.
"""

import json
from typing import Any, TypeVar

from connectrpc.code import Code
from connectrpc.codec import Codec, proto_binary_codec, proto_json_codec
from connectrpc.errors import ConnectError
from protobuf import DescField, DescFieldValueMessage, DescFieldValueScalar, Message, ScalarType

from ingress.admission import admit, binary_weight, json_weight
from ingress.error_codes import retry_info_for, shortened
from shared.errors import OverloadedError
from shared.gen.google.rpc.error_details_pb import BadRequest
from shared.json_nesting import is_nested_too_deeply

M = TypeVar("M", bound=Message)

_FAILURES = (ValueError, TypeError, RecursionError, OverflowError)


class ExplainingJsonCodec(Codec[Message, Any]):
    """proto JSON; says which field of a request is wrong, or where the text stops being JSON."""

    def __init__(self) -> None:
        self._codec = proto_json_codec()

    def name(self) -> str:
        return self._codec.name()

    def encode(self, message: Message) -> bytes:
        return self._codec.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[M]) -> M:
        if is_nested_too_deeply(data):
            raise _malformed("the body is nested too deeply")
        _admit(json_weight(data))
        try:
            message: M = self._codec.decode(data, message_class)
        except _FAILURES:
            raise _explanation(bytes(data), message_class) from None
        except MemoryError:
            raise _overloaded(OverloadedError("no memory left to decode it; nothing was written")) from None
        return message


class ExplainingBinaryCodec(Codec[Message, Any]):
    """Binary protobuf; a fixed text for what does not decode."""

    def __init__(self) -> None:
        self._codec = proto_binary_codec()

    def name(self) -> str:
        return self._codec.name()

    def encode(self, message: Message) -> bytes:
        return self._codec.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[M]) -> M:
        _admit(binary_weight(data))
        try:
            message: M = self._codec.decode(data, message_class)
        except _FAILURES:
            text = f"the body is not a binary {message_class.__name__}"
            raise ConnectError(Code.INVALID_ARGUMENT, text) from None
        except MemoryError:
            raise _overloaded(OverloadedError("no memory left to decode it; nothing was written")) from None
        return message


def _admit(weight: int) -> None:
    try:
        admit(weight)
    except OverloadedError as error:
        raise _overloaded(error) from None


def _overloaded(error: OverloadedError) -> ConnectError:
    """Said here: connectrpc takes whatever else a codec raises for the caller's fault."""
    retry_info = retry_info_for(error)
    return ConnectError(Code.RESOURCE_EXHAUSTED, str(error), [] if retry_info is None else [retry_info])


def _explanation(data: bytes, message_class: type[Message]) -> ConnectError:
    """Decode once more, field by field, to find the ones at fault. Only ever runs for a request that is refused."""
    try:
        fields = json.loads(data)
    except json.JSONDecodeError as error:
        return _malformed(f"the body is not valid JSON (line {error.lineno}, column {error.colno})")
    except UnicodeDecodeError:
        return _malformed("the body is not valid UTF-8")
    if not isinstance(fields, dict):
        return _malformed("the body must be a JSON object")
    expected = {
        name: _expected(field) for field in message_class.desc().fields for name in (field.name, field.json_name)
    }
    wrong = {
        name: expected[name]
        for name, value in fields.items()
        if name in expected and not _decodes(message_class, name, value)
    }
    violations = [
        BadRequest.FieldViolation(field=name, reason="TYPE", description=text) for name, text in wrong.items()
    ]
    message = "; ".join(f"{name}: {text}" for name, text in wrong.items()) or "the body is not valid proto JSON"
    return ConnectError(
        Code.INVALID_ARGUMENT, shortened(message), [BadRequest(field_violations=violations)] if wrong else []
    )


def _expected(field: DescField) -> str:
    match field.value:
        case DescFieldValueMessage(message=message) if message.type_name in _EXPECTED_MESSAGES:
            return _EXPECTED_MESSAGES[message.type_name]
        case DescFieldValueScalar(scalar=scalar) if scalar in _EXPECTED_SCALARS:
            return _EXPECTED_SCALARS[scalar]
        case _:
            return "must be a valid value of its type"


_EXPECTED_MESSAGES = {
    "google.protobuf.Timestamp": "must be an RFC 3339 timestamp within the years 0001 to 9999",
    "google.protobuf.Struct": "must be a JSON object without NaN or infinities, at most 32 levels deep",
}
_EXPECTED_SCALARS = {ScalarType.STRING: "must be a string", ScalarType.BOOL: "must be true or false"}


def _malformed(text: str) -> ConnectError:
    return ConnectError(Code.INVALID_ARGUMENT, text)


def _decodes(message_class: type[Message], name: str, value: Any) -> bool:
    try:
        message_class.from_json(json.dumps({name: value}), ignore_unknown_fields=True)
    except _FAILURES:
        return False
    return True

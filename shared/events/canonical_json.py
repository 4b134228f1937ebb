"""One text for one JSON value: compact, keys sorted, whole doubles written as integers.

Equal values give equal text whatever the caller's client made of spacing, key order or `1.0`. Sizes and digests are
measured on it. By orjson, which takes a tenth of the time of the standard library; the form of its doubles is part of
every stored digest, so that another version is taken only where the tests of this module pass.
"""

from typing import Any, Final

import orjson

EXACT_INTEGER_LIMIT: Final = 2**53
"""From here on a double no longer tells neighbouring integers apart, so such a number stays a double."""

_WHOLE_DOUBLE: Final = b".0"
"""How protobuf and orjson end a whole double below that limit. Where it is within a text it costs a walk, no more."""


def encode(value: Any) -> bytes:
    """The canonical text, in UTF-8, of a value made of dict, list, str, bool, None, int and finite float.

    A NaN or an infinity has no JSON form and becomes null: callers have refused them.

    Raises:
        TypeError: another type, or an integer of more than 64 bits.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def decode(text: bytes | str) -> Any:
    """The value of a JSON text, its whole doubles below 2**53 as integers, so that `1.0` encodes as `1`.

    Of a text that neither protobuf nor `encode` wrote, a whole double with an exponent (`1e2`) may stay one.

    Raises:
        ValueError: not JSON.
    """
    value = orjson.loads(text)
    if _WHOLE_DOUBLE in (text if isinstance(text, bytes) else text.encode()):
        return _with_integers(value)
    return value


def _with_integers(value: Any) -> Any:
    match value:
        case float():
            return int(value) if value.is_integer() and abs(value) < EXACT_INTEGER_LIMIT else value
        case dict():
            return {key: _with_integers(item) for key, item in value.items()}
        case list():
            return [_with_integers(item) for item in value]
        case _:
            return value

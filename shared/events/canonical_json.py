"""Canonical JSON: one text for one value. Compact, keys sorted, whole doubles written as integers.

Equal values give equal text, whatever spacing, key order or `1.0` a caller's client chose. Sizes and digests are taken
from this text. It is made by orjson, in a tenth of the standard library's time. The form of orjson's doubles is part of
every stored digest: upgrade orjson only if `tests/unit/shared/test_canonical_json.py` passes.
"""

from typing import Any, Final

import orjson

EXACT_INTEGER_LIMIT: Final = 2**53
"""From here on neighbouring integers can be the same double, so such a number stays a double."""

_WHOLE_DOUBLE: Final = b".0"
"""The end of a whole double below that limit, as protobuf and orjson write it. Inside a string it costs a needless walk
over the value, no more."""


def encode(value: Any) -> bytes:
    """The canonical text, in UTF-8, of a value made of dict, list, str, bool, None, int and finite float.

    NaN and infinities have no JSON form and become null; refuse them before.

    Raises:
        TypeError: another type, an integer of more than 64 bits, or a string with an unpaired surrogate.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def decode(text: bytes | str) -> Any:
    """The value of a JSON text, with whole doubles below 2**53 as integers, so that `1.0` encodes as `1`.

    In a text that neither protobuf nor `encode` wrote, a whole double with an exponent (`1e2`) may stay a double.

    Raises:
        ValueError: not JSON.
    """
    value = orjson.loads(text)
    if _WHOLE_DOUBLE in (text if isinstance(text, bytes) else text.encode()):
        return _with_integers(value)
    return value


def _with_integers(value: Any) -> Any:
    # In the order of how many values of each type there are; `match` takes twice as long.
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < EXACT_INTEGER_LIMIT else value
    if isinstance(value, dict):
        return {key: _with_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_integers(item) for item in value]
    return value

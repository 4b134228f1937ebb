"""One text for one JSON value: compact, keys sorted, whole doubles written as integers.

Equal values give equal text whatever the caller's client made of spacing, key order or `1.0`. Sizes and digests are
measured on it.
"""

import json
from typing import Any, Final

EXACT_INTEGER_LIMIT: Final = 2**53
"""From here on a double no longer tells neighbouring integers apart, so such a number stays a double."""


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < EXACT_INTEGER_LIMIT else number


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode
_decode = json.JSONDecoder(parse_float=_number).decode


def encode(value: Any) -> str:
    """The canonical text of a value made of dict, list, str, bool, None, int and finite float.

    Raises:
        ValueError: a NaN or an infinity.
    """
    return _encode(value)


def decode(text: str) -> Any:
    """The value of a JSON text, its whole doubles below 2**53 as integers, so that `1.0` encodes as `1`.

    Raises:
        ValueError: not JSON.
    """
    return _decode(text)

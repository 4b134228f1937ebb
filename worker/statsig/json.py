"""Serializes requests to Statsig as JSON."""

import json
from typing import Any

import orjson


def to_json(value: Any) -> bytes:
    """Serialize by orjson, in a tenth of the time of the standard library.

    The standard library takes over for values that orjson refuses: lone surrogates, and integers of more than 64 bits.
    A NaN or an infinity becomes null in orjson, and raises ValueError in the standard library.

    Raises:
        TypeError, ValueError, RecursionError: it has no JSON form.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, allow_nan=False).encode()

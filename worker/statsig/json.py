"""The JSON of what is sent to Statsig."""

import json
from typing import Any

import orjson


def to_json(value: Any) -> bytes:
    """By orjson, in a tenth of the time of the standard library, which is left what orjson does not take.

    That is a surrogate by itself, or an integer of more than 64 bits. A NaN or an infinity becomes null.

    Raises:
        TypeError, ValueError, RecursionError: it has no JSON form.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, allow_nan=False).encode()

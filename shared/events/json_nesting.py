"""How deeply a JSON text is nested. Check it before any parser sees the text.

protobuf-py 0.7 recurses without a limit over a value that it skips (an unknown field, an array in place of a scalar):
200 KB of brackets end the process with a segmentation fault, which no exception handler sees.
"""

import re
from typing import Final

MAX_LEVELS: Final = 100
"""The limit of the protobuf runtimes; our own limit on metadata is far below."""

_HARMLESS_BRACKETS: Final = 500
"""A text with no more opening brackets cannot be nested dangerously (the parser was seen to take 5,000 levels). Two
fast counts show this for nearly every request."""

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string literal. An unterminated one reaches to the end of the text, so that no byte is scanned twice."""

_ALL_BUT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def is_nested_too_deeply(data: bytes | bytearray) -> bool:
    """Whether parsing the text is dangerous: it has more than MAX_LEVELS levels and more than 500 opening brackets.

    Never raises, whatever the bytes are.
    """
    return data.count(b"[") + data.count(b"{") > _HARMLESS_BRACKETS and has_more_levels(data, MAX_LEVELS)


def has_more_levels(data: bytes | bytearray, limit: int) -> bool:
    """Whether the text has more than `limit` levels of objects and lists. Never raises, whatever the bytes are."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    levels = 0
    for bracket in without_texts(data).translate(None, _ALL_BUT_BRACKETS):
        if bracket in b"[{":
            levels += 1
            if levels > limit:
                return True
        else:
            levels -= 1
    return False


def without_texts(data: bytes | bytearray) -> bytes:
    """The text without its string literals: all commas and brackets that are left are structure."""
    return _STRING.sub(b"", data)

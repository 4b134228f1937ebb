"""How deep a JSON text is nested, before a parser is let near it.

protobuf-py 0.7 recurses without a limit over a value that it skips (an unknown field, an array where a scalar belongs):
200 KB of brackets end the process by a segmentation fault, which no exception handler sees.
"""

import re
from typing import Final

MAX_LEVELS: Final = 100
"""What the protobuf runtimes take; our own limit on metadata is far below."""

_HARMLESS_BRACKETS: Final = 500
"""With fewer opening brackets no text is nested dangerously, which two fast counts tell of nearly every request. The
parser was seen to take 5,000 levels."""

_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string literal; one without an end goes on to the end, so that no byte is looked at twice."""

_ALL_BUT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def is_nested_too_deeply(data: bytes | bytearray) -> bool:
    """Whether the text has more than MAX_LEVELS levels; total, whatever the bytes are."""
    return data.count(b"[") + data.count(b"{") > _HARMLESS_BRACKETS and has_more_levels(data, MAX_LEVELS)


def has_more_levels(data: bytes | bytearray, limit: int) -> bool:
    """Whether the text has more levels of objects and lists than that; total, whatever the bytes are."""
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
    """The text without its string literals: what is left of commas and brackets is structure."""
    return _TEXT.sub(b"", data)

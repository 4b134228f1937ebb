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

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


def is_nested_too_deeply(data: bytes | bytearray) -> bool:
    """Whether the text has more than MAX_LEVELS levels; total, whatever the bytes are."""
    if data.count(b"[") + data.count(b"{") <= _HARMLESS_BRACKETS:
        return False
    levels = 0
    for token in _TOKEN.finditer(data):
        match token.group()[:1]:
            case b"[" | b"{":
                levels += 1
                if levels > MAX_LEVELS:
                    return True
            case b"]" | b"}":
                levels -= 1
    return False

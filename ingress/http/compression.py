"""gzip as it is taken and given: what connectrpc 0.13 does with it takes seconds where a caller wants it to.

It is left for later, as decoding is (`ingress/decoding/undecoded.py`): connectrpc decompresses synchronously.
"""

import gzip
import zlib
from typing import Final

from connectrpc.compression import Compression

from ingress.decoding.undecoded import Steps
from shared.errors import MalformedRequestError, RequestTooLargeError

CHUNK_BYTES: Final = 64 * 1024
"""What is decompressed at once, and comes of it: 0.2 ms. What a member leaves over is copied, so of large pieces with
many members each byte would be copied as often as there are members."""

GZIP_WINDOW: Final = 31
"""zlib's word for gzip with its usual window."""

FAST_ABOVE_BYTES: Final = 64 * 1024
"""Of an answer: 5 MB take 18 ms at level 1 and 38 at level 6, in which nothing else runs."""

USUAL_LEVEL: Final = 6
FAST_LEVEL: Final = 1


class Gzipped(bytes):
    """A body that is still to be decompressed. connectrpc hands it on to the codec."""

    __slots__ = ()


class LazyGzip(Compression):
    """Compresses; what it is to decompress becomes `Gzipped`."""

    def name(self) -> str:
        return "gzip"

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        return gzip.compress(data, FAST_LEVEL if len(data) > FAST_ABOVE_BYTES else USUAL_LEVEL)

    def decompress(self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None) -> bytes:
        del read_max_bytes  # the bound depends on the method, which is not known here
        return Gzipped(data)


def decompressed(data: bytes, *, max_bytes: int, max_members: int) -> Steps[bytes]:
    """What gzip makes of it, bounded in bytes and in members; errors say nothing of zlib.

    Raises:
        MalformedRequestError: it is not valid gzip.
        RequestTooLargeError: it has more members, or becomes more bytes.
    """
    view = memoryview(data)
    parts: list[bytes] = []
    left = max_bytes
    members = position = 0
    while position < len(view):
        members += 1
        if members > max_members:
            raise RequestTooLargeError(f"has more than {max_members} gzip members")
        member = zlib.decompressobj(GZIP_WINDOW)
        while not member.eof:
            chunk = view[position : position + CHUNK_BYTES]
            try:
                part = member.decompress(chunk, CHUNK_BYTES)
            except zlib.error:
                raise MalformedRequestError("is not valid gzip") from None
            if not chunk and not part and not member.eof:  # of what it was given there may still be something to come
                raise MalformedRequestError("is not valid gzip")
            left -= len(part)
            if left < 0:
                raise RequestTooLargeError(f"is larger than {max_bytes} bytes once decompressed")
            parts.append(part)
            # Behind the end of a member both may say what is left of the chunk (CPython 3.11), not to be counted twice.
            position += len(chunk) - len(member.unused_data or member.unconsumed_tail)
            yield
    return b"".join(parts)

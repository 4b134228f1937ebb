"""gzip in both directions, bounded: a hostile body can keep the decompression of connectrpc 0.13 busy for seconds.

connectrpc decompresses synchronously. So this, like decoding, is put off (`ingress/decoding/undecoded.py`) and then
done in steps.
"""

import gzip
import zlib
from typing import Final

from connectrpc.compression import Compression

from ingress.decoding.undecoded import Steps
from shared.errors import MalformedRequestError, RequestTooLargeError

CHUNK_BYTES: Final = 64 * 1024
"""The most that goes into zlib in one step, and the most that comes out: 0.2 ms. zlib copies what a member leaves over,
so in larger chunks each byte would be copied as often as there are members."""

GZIP_WINDOW: Final = 31
"""zlib's `wbits` for gzip with the usual window."""

FAST_ABOVE_BYTES: Final = 64 * 1024
"""Answers above this size are compressed at the fast level: 5 MB take 18 ms at level 1 and 38 ms at level 6, in which
nothing else runs."""

USUAL_LEVEL: Final = 6
FAST_LEVEL: Final = 1


class Gzipped(bytes):
    """A body that is still compressed, which connectrpc hands on to the codec as it is."""

    __slots__ = ()


class LazyGzip(Compression):
    """connectrpc's gzip: compresses answers, and marks requests as `Gzipped` instead of decompressing them."""

    def name(self) -> str:
        return "gzip"

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        return gzip.compress(data, FAST_LEVEL if len(data) > FAST_ABOVE_BYTES else USUAL_LEVEL)

    def decompress(self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None) -> bytes:
        del read_max_bytes  # the bound depends on the method, which is not known here
        return Gzipped(data)


def decompressed(data: bytes, *, max_bytes: int, max_members: int) -> Steps[bytes]:
    """Decompress gzip in steps, within bounds. Error messages repeat nothing of zlib's.

    Raises:
        MalformedRequestError: not valid gzip, or cut short.
        RequestTooLargeError: more than `max_members` members, or more than `max_bytes` once decompressed.
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
            if not chunk and not part and not member.eof:  # no input is left, and zlib has no output pending either
                raise MalformedRequestError("is not valid gzip")
            left -= len(part)
            if left < 0:
                raise RequestTooLargeError(f"is larger than {max_bytes} bytes once decompressed")
            parts.append(part)
            # After the end of a member both attributes may hold the rest of the chunk (CPython 3.11): count it once.
            position += len(chunk) - len(member.unused_data or member.unconsumed_tail)
            yield
    return b"".join(parts)

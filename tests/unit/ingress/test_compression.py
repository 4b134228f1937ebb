"""gzip is decompressed in steps, within bounds."""

import gzip
import os

import pytest

from ingress.decoding.codec import lazy_codecs
from ingress.http.compression import CHUNK_BYTES, LazyGzip, decompressed
from shared.errors import MalformedRequestError, RequestTooLargeError
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.support.wire.decoding import JSON, LIMITS, decode_event, decode_events

MIB = 1024 * 1024


def expand(data: bytes, *, max_bytes: int = 4 * MIB, max_members: int = 100) -> tuple[bytes, int]:
    """What it becomes, and in how many steps."""
    steps = decompressed(data, max_bytes=max_bytes, max_members=max_members)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * MIB, 4 * MIB])
@pytest.mark.parametrize("kind", ["zeros", "noise"])
def test_becomes_what_it_was(kind: str, size: int) -> None:
    data = bytes(size) if kind == "zeros" else os.urandom(size)

    assert expand(gzip.compress(data, 1))[0] == data


def test_members_follow_each_other() -> None:
    parts = [b"a" * 100_000, b"", b"b", os.urandom(200_000)]

    assert expand(b"".join(gzip.compress(part) for part in parts))[0] == b"".join(parts)


def test_no_step_makes_more_than_a_little() -> None:
    assert expand(gzip.compress(bytes(4 * MIB)))[1] >= 4 * MIB // CHUNK_BYTES


def test_what_becomes_too_large_is_expanded_no_further_than_its_limit() -> None:
    steps = decompressed(gzip.compress(bytes(50 * MIB)), max_bytes=MIB, max_members=1)
    for _ in range(MIB // CHUNK_BYTES):
        next(steps)
    with pytest.raises(RequestTooLargeError, match=f"larger than {MIB} bytes once decompressed"):
        next(steps)


def test_too_many_members_are_refused() -> None:
    assert expand(gzip.compress(b"a") * 3, max_members=3)[0] == b"aaa"
    with pytest.raises(RequestTooLargeError, match="more than 3 gzip members"):
        expand(gzip.compress(b"a") * 4, max_members=3)


@pytest.mark.parametrize(
    "data",
    [b"x", gzip.compress(b"a")[:-1], gzip.compress(b"a") + b"x", gzip.compress(bytes(MIB))[:-9]],
    ids=["no gzip", "cut short", "something behind it", "cut short, with much to come"],
)
def test_what_is_no_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="is not valid gzip"):
        expand(data)


def test_a_log_event_is_expanded_to_what_an_event_may_have_and_log_events_to_what_a_request_may() -> None:
    spaces = b" " * (LIMITS.event_bytes + 1)
    waiting = LazyGzip().decompress(gzip.compress(b"{" + spaces + b"}"), LIMITS.request_bytes)

    with pytest.raises(RequestTooLargeError, match=f"larger than {LIMITS.event_bytes} bytes once decompressed"):
        decode_event(waiting)
    assert decode_events(waiting) == []


def test_nothing_is_decompressed_before_the_call_has_its_turn() -> None:
    bomb = gzip.compress(bytes(50 * MIB), 1)

    for codec in lazy_codecs():
        body = codec.decode(LazyGzip().decompress(bomb, MIB), LogEventRequest)
        assert body.is_gzipped
        assert body.data == bomb
    assert not JSON.decode(b"{}", LogEventRequest).is_gzipped

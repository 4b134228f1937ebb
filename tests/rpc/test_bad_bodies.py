"""Bodies that would cost far more than they are worth: refused before anything is built of them, and of no effect.

Each is answered with few words, nothing is written, and the connection and the service go on. How long the event loop
is held by them is measured elsewhere (`tests/bench`).
"""

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import pytest
import pytest_asyncio

from tests.support.wire.http1 import JSON, LOG_EVENT, LOG_EVENTS, PROTO, connection
from tests.support.wire.ingress import Ingress, Store, running_ingress
from tests.support.wire.refusals import CANARY, assert_error

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

MIB: Final = 1024 * 1024
GOOD: Final = b'{"event_name":"afterwards","forward_to_statsig":false}'

NO_MARKS: Final = b'{"event_name":"' + CANARY.encode() + b'","metadata":{"a":'


def dense(item: bytes, size: int, *, start: bytes = NO_MARKS, end: bytes = b"}}") -> bytes:
    """A list of so many items that the body has this size."""
    count = (size - len(start) - len(end) - 2) // (len(item) + 1)
    return start + b"[" + b",".join([item] * count) + b"]" + end


def field(tag: bytes, value: bytes) -> bytes:
    size, length = len(value), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return tag + length + bytes([size]) + value


def dense_binary(item: bytes, size: int) -> bytes:
    values = field(b"\x32", item * (size // len(item)))
    return field(b"\x0a", CANARY.encode()) + field(
        b"\x2a", field(b"\x0a", field(b"\x0a", b"a") + field(b"\x12", values))
    )


def members(count: int) -> bytes:
    return gzip.compress(b"") * count + gzip.compress(GOOD)


@dataclass(frozen=True)
class Bad:
    code: str
    body: Callable[[], bytes]
    """Made when it is needed: most have megabytes."""

    binary: bool = False
    path: str = LOG_EVENT
    gzip: bool = False
    """Sent as it is, already compressed."""


BODIES: dict[str, Bad] = {
    "objects": Bad("invalid_argument", lambda: dense(b"{}", MIB)),
    "numbers": Bad("invalid_argument", lambda: dense(b"1", MIB)),
    "texts": Bad("invalid_argument", lambda: dense(b'""', MIB)),
    "objects with a key": Bad("invalid_argument", lambda: dense(b'{"":1}', MIB)),
    "lists in lists": Bad("invalid_argument", lambda: dense(b"[" * 60 + b"]" * 60, MIB)),
    "objects in a field that nobody knows": Bad(
        "invalid_argument", lambda: dense(b"{}", MIB, start=b'{"event_name":"a","x":', end=b"}")
    ),
    "a name of the wrong type beside objects": Bad(
        "invalid_argument", lambda: dense(b"{}", MIB, start=b'{"event_name":5,"metadata":{"a":')
    ),
    "texts without commas between them": Bad("invalid_argument", lambda: b"[" + b'""' * 500_000),
    "brackets without an end": Bad("invalid_argument", lambda: b"[" * 1_000_000),
    "objects, 4 MiB of them": Bad("invalid_argument", lambda: dense(b"{}", 4 * MIB)),
    "one event of 1 MiB and a byte": Bad("invalid_argument", lambda: GOOD + b" " * (MIB + 1 - len(GOOD))),
    "binary empty values": Bad("invalid_argument", lambda: dense_binary(b"\x0a\x00", 1_000_000), binary=True),
    "binary values by a longer tag": Bad(
        "invalid_argument", lambda: dense_binary(b"\x8a\x00\x00", 1_000_000), binary=True
    ),
    "binary objects": Bad("invalid_argument", lambda: dense_binary(b"\x0a\x02\x2a\x00", 1_000_000), binary=True),
    "binary times, again and again": Bad("invalid_argument", lambda: b"\x22\x00" * 500_000, binary=True),
    "binary metadata, again and again": Bad("invalid_argument", lambda: b"\x2a\x00" * 500_000, binary=True),
    "a batch of objects": Bad(
        "invalid_argument", lambda: dense(b"{}", 4 * MIB, start=b'{"events":', end=b"}"), path=LOG_EVENTS
    ),
    "a batch of numbers": Bad(
        "invalid_argument", lambda: dense(b"1", 4 * MIB, start=b'{"events":', end=b"}"), path=LOG_EVENTS
    ),
    "objects beside a batch": Bad(
        "invalid_argument", lambda: dense(b"{}", 4 * MIB, start=b'{"x":', end=b',"events":[]}'), path=LOG_EVENTS
    ),
    "objects in one event of a batch": Bad(
        "invalid_argument",
        lambda: dense(b"{}", 4 * MIB, start=b'{"events":[{"event_name":"a","metadata":{"a":', end=b"}}]}"),
        path=LOG_EVENTS,
    ),
    "a batch of 60 full events": Bad(
        "invalid_argument",
        lambda: b'{"events":[' + b",".join([dense(b"1", 65_000)] * 60) + b"]}",
        path=LOG_EVENTS,
    ),
    "a binary batch of 30 dense events": Bad(
        "invalid_argument",
        lambda: field(b"\x0a", dense_binary(b"\x0a\x02\x08\x00", 130_000)) * 30,
        binary=True,
        path=LOG_EVENTS,
    ),
    "a binary batch of empty events": Bad(
        "invalid_argument", lambda: b"\x0a\x00" * 2_000_000, binary=True, path=LOG_EVENTS
    ),
    "a binary batch of unknown fields": Bad(
        "invalid_argument", lambda: b"\x10\x00" * 2_000_000, binary=True, path=LOG_EVENTS
    ),
    "objects in gzip": Bad("invalid_argument", lambda: gzip.compress(dense(b"{}", 4 * MIB - 10)), gzip=True),
    "objects of 1 MiB in gzip": Bad("invalid_argument", lambda: gzip.compress(dense(b"{}", MIB)), gzip=True),
    "50 MB in gzip": Bad("invalid_argument", lambda: gzip.compress(b" " * 50_000_000, 1), gzip=True),
    "empty members of gzip": Bad("invalid_argument", lambda: members(50_000), gzip=True),
    "empty members of gzip, a batch": Bad("invalid_argument", lambda: members(200_000), path=LOG_EVENTS, gzip=True),
    "gzip with an end that is none": Bad("invalid_argument", lambda: gzip.compress(GOOD) + CANARY.encode(), gzip=True),
    "gzip cut short": Bad("invalid_argument", lambda: gzip.compress(GOOD)[:-9], gzip=True),
    "deflate called gzip": Bad("invalid_argument", lambda: zlib.compress(GOOD), gzip=True),
    "gzip of a checksum that is wrong": Bad(
        "invalid_argument", lambda: gzip.compress(GOOD)[:-8] + b"canary-7", gzip=True
    ),
    "an integer of 4,301 digits": Bad("invalid_argument", lambda: b'{"event_name":' + b"1" * 4301 + b"}"),
    "an integer of a million digits": Bad("invalid_argument", lambda: b'{"metadata":' + b"1" * 1_000_000 + b"}"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingress(module_environment: dict[str, str]) -> AsyncIterator[Ingress]:
    """With the bounds that production has."""
    async with running_ingress(module_environment) as running:
        yield running


@pytest.mark.parametrize("bad", BODIES.values(), ids=BODIES.keys())
async def test_refuses_in_few_words_and_goes_on(ingress: Ingress, bad: Bad) -> None:
    headers = (PROTO if bad.binary else JSON) | ({"content-encoding": "gzip"} if bad.gzip else {})
    async with connection(ingress.port) as caller:
        answer = await caller.call(bad.body(), headers, path=bad.path)

        assert_error(answer, bad.code)
        text = answer.body.decode().lower()
        assert not any(word in text for word in ("python", "zlib", "decompress:", "unmarshal", "error -", "sys."))
        if answer.keeps_the_connection:
            assert (await caller.call(GOOD)).status == 200
    async with connection(ingress.port) as another:
        assert (await another.call(GOOD)).status == 200


@pytest.mark.parametrize("character", [",", "{", '"', "\n", "2"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_text_that_only_looks_so_is_accepted(ingress: Ingress, character: str, encoding: str) -> None:
    most = 65_000 // len(json.dumps(character)[1:-1])
    event = {"event_name": "looks", "metadata": {"k": character * most}, "forward_to_statsig": False}
    one, many = json.dumps(event).encode(), json.dumps({"events": [event] * 30}).encode()
    async with connection(ingress.port) as caller:
        for path, body in ((LOG_EVENT, one), (LOG_EVENTS, many)):
            content = gzip.compress(body) if encoding == "gzip" else body
            answer = await caller.call(content, JSON | {"content-encoding": encoding}, path=path)

            assert answer.status == 200
            assert "error" not in answer.body.decode()


async def test_several_members_of_gzip_are_one_body(ingress: Ingress) -> None:
    body = b"".join(gzip.compress(GOOD[at : at + 1]) for at in range(len(GOOD)))
    async with connection(ingress.port) as caller:
        assert (await caller.call(body, JSON | {"content-encoding": "gzip"})).status == 200


HEADS = {
    "another version": {"connect-protocol-version": CANARY},
    "a long version": {"connect-protocol-version": CANARY * 4000},
    "a timeout that is no number": {"connect-timeout-ms": CANARY},
    "a long timeout": {"connect-timeout-ms": "7" * 30_000},
    "an encoding": {"content-encoding": CANARY * 500},
}


@pytest.mark.parametrize("headers", HEADS.values(), ids=HEADS.keys())
async def test_no_value_of_a_header_comes_back(ingress: Ingress, headers: dict[str, str]) -> None:
    async with connection(ingress.port) as caller:
        answer = await caller.call(GOOD, JSON | headers)

    assert_error(answer, "unimplemented" if "content-encoding" in headers else "invalid_argument")
    (value,) = headers.values()
    assert value[:9] not in answer.body.decode()


@pytest.mark.parametrize("kind", ["json", "proto", "application/jsonx", "application/x-json", "text/json", "", ";"])
async def test_a_content_type_is_one_of_two(ingress: Ingress, kind: str) -> None:
    async with connection(ingress.port) as caller:
        answer = await caller.call(GOOD, {"content-type": kind})

        assert (answer.status, answer.body) == (415, b"")
        assert answer.headers["accept-post"]
        assert (await caller.call(GOOD, {"content-type": "Application/JSON ; charset=utf-8"})).status == 200


async def test_nothing_of_this_was_written(store: Store) -> None:
    # The last of this module.
    assert await store.rows("e.event_name NOT IN ('afterwards', 'looks')") == []

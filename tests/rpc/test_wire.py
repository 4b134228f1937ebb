"""Requests that are wrong before there is an event: method, path, headers, encoding, body."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.rpc.conftest import MAX_REQUEST_BYTES
from tests.support.wire.http1 import JSON, LOG_EVENT, LOG_EVENTS, PROTO, connection
from tests.support.wire.ingress import Ingress, Store
from tests.support.wire.refusals import Broken, assert_error

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

GOOD = b'{"event_name":"afterwards","forward_to_statsig":false}'
BOMB = gzip.compress(bytes(50_000_000), compresslevel=1)


@dataclass(frozen=True)
class Wrong:
    code: str
    """A Connect code, or an HTTP status where Connect answers without a body."""

    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    body: bytes = GOOD
    path: str = LOG_EVENT
    method: str = "POST"
    broken: Broken = field(default_factory=set)


def with_header(**headers: str) -> dict[str, str]:
    return JSON | {name.replace("_", "-"): value for name, value in headers.items()}


WRONG: dict[str, Wrong] = {
    "an unknown method": Wrong("404", path="/events.v1.EventLoggingService/LogNothing"),
    "an unknown service": Wrong("404", path="/events.v2.EventLoggingService/LogEvent"),
    "the root": Wrong("404", path="/"),
    "GET": Wrong("405", method="GET", headers={}),
    "PUT": Wrong("405", method="PUT", headers={"content-length": "0"}),
    "OPTIONS": Wrong("405", method="OPTIONS", headers={}),
    "plain text": Wrong("415", {"content-type": "text/plain"}),
    "no content type": Wrong("415", {}),
    "a stream's content type": Wrong("415", {"content-type": "application/connect+json"}),
    "gRPC without trailers": Wrong("415", {"content-type": "application/grpc"}),
    "gRPC in a codec": Wrong("415", {"content-type": "Application/gRPC+proto"}),
    "another version of the protocol": Wrong("invalid_argument", with_header(connect_protocol_version="2")),
    "a timeout that is no number": Wrong("invalid_argument", with_header(connect_timeout_ms="abc")),
    "a timeout below zero": Wrong("invalid_argument", with_header(connect_timeout_ms="-1")),
    "a timeout with an underscore": Wrong("invalid_argument", with_header(connect_timeout_ms="1_0")),
    "a timeout of 11 digits": Wrong("invalid_argument", with_header(connect_timeout_ms="12345678901")),
    "a timeout of nothing": Wrong("deadline_exceeded", with_header(connect_timeout_ms="0")),
    "a header that is not UTF-8": Wrong("invalid_argument", with_header(x_name="\xff")),
    "an encoding that is not served": Wrong("unimplemented", with_header(content_encoding="br")),
    "gzip that is none": Wrong("invalid_argument", with_header(content_encoding="gzip")),
    "gzip cut short": Wrong("invalid_argument", with_header(content_encoding="gzip"), gzip.compress(GOOD)[:-9]),
    "a gzip bomb": Wrong("invalid_argument", with_header(content_encoding="gzip"), BOMB),
    "a body over the limit": Wrong("invalid_argument", body=GOOD + b" " * (MAX_REQUEST_BYTES + 1 - len(GOOD))),
    "a far larger body": Wrong("invalid_argument", body=GOOD + b" " * 5_000_000),
    "an empty JSON body": Wrong("invalid_argument", body=b""),
    "an empty binary body": Wrong("invalid_argument", PROTO, b"", broken={("event_name", "REQUIRED")}),
    "malformed JSON": Wrong("invalid_argument", body=b'{"event_name":'),
    "JSON with an end": Wrong("invalid_argument", body=GOOD + b"}"),
    "JSON that is not UTF-8": Wrong("invalid_argument", body=b'{"event_name":"\xff"}'),
    "a byte order mark": Wrong("invalid_argument", body=b"\xef\xbb\xbf" + GOOD),
    "UTF-16": Wrong("invalid_argument", body=GOOD.decode().encode("utf-16")),
    "an array": Wrong("invalid_argument", body=b"[" + GOOD + b"]"),
    "a scalar": Wrong("invalid_argument", body=b"1"),
    "a number for a string": Wrong("invalid_argument", body=b'{"event_name":1}', broken={("event_name", "TYPE")}),
    "JSON nested far too deep": Wrong(
        "invalid_argument", body=b'{"event_name":"a","metadata":' + b'{"a":' * 2000 + b"1" + b"}" * 2001
    ),
    "malformed protobuf": Wrong("invalid_argument", PROTO, b"\x0a\xff\xff"),
    "protobuf that is not UTF-8": Wrong("invalid_argument", PROTO, b"\x0a\x01\xff"),
    "JSON called protobuf": Wrong("invalid_argument", PROTO, GOOD),
    "a batch of none": Wrong(
        "invalid_argument", body=b'{"events":[]}', path=LOG_EVENTS, broken={("events", "MIN_ITEMS")}
    ),
    "an empty batch": Wrong("invalid_argument", body=b"{}", path=LOG_EVENTS, broken={("events", "MIN_ITEMS")}),
    "a batch of 501": Wrong(
        "invalid_argument",
        body=b'{"events":[' + b",".join([GOOD] * 501) + b"]}",
        path=LOG_EVENTS,
        broken={("events", "MAX_ITEMS")},
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_refuses(ingress: Ingress, store: Store, wrong: Wrong) -> None:
    async with connection(ingress.port) as caller:
        answer = await caller.call(wrong.body, wrong.headers, path=wrong.path, method=wrong.method)

        if wrong.code.isdigit():
            assert (answer.status, answer.body) == (int(wrong.code), b"")
        else:
            found = assert_error(answer, wrong.code)
            assert found.broken == wrong.broken
        if answer.keeps_the_connection:
            assert (await caller.call(GOOD)).status == 200
        else:
            assert await caller.is_closed()
    async with connection(ingress.port) as another:
        assert (await another.call(GOOD)).status == 200
    assert await store.rows("e.event_name != 'afterwards'") == []


@pytest.mark.parametrize(
    ("wrong", "header"), [("GET", "allow"), ("plain text", "accept-post"), ("gRPC without trailers", "accept-post")]
)
async def test_says_what_would_be_right(ingress: Ingress, wrong: str, header: str) -> None:
    case = WRONG[wrong]
    async with connection(ingress.port) as caller:
        answer = await caller.call(case.body, case.headers, path=case.path, method=case.method)

    assert answer.headers[header]


async def test_a_body_of_exactly_the_limit_is_accepted(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        assert (await caller.call(GOOD + b" " * (MAX_REQUEST_BYTES - len(GOOD)))).status == 200


@pytest.mark.parametrize(
    "lines",
    [
        ["content-length: 5", "content-length: 6"],
        ["content-length: abc"],
        ["transfer-encoding: chunked", "content-length: 5"],
    ],
)
async def test_what_is_no_http_is_closed(ingress: Ingress, lines: list[str]) -> None:
    head = [f"POST {LOG_EVENT} HTTP/1.1", "host: test", "content-type: application/json", *lines]
    async with connection(ingress.port) as caller:
        await caller.send("\r\n".join(head).encode() + b"\r\n\r\n{}")
        answer = await caller.answer()

        assert answer.status == 400
        assert await caller.is_closed()


async def test_two_requests_in_one_packet_are_both_answered(ingress: Ingress) -> None:
    one = (
        f"POST {LOG_EVENT} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        f"content-length: {len(GOOD)}\r\n\r\n"
    ).encode() + GOOD
    async with connection(ingress.port) as caller:
        await caller.send(one + one)

        assert [(await caller.answer()).status for _ in range(2)] == [200, 200]


async def test_the_protocols_own_headers_may_be_there(ingress: Ingress) -> None:
    headers: dict[str, Any] = with_header(connect_protocol_version="1", connect_timeout_ms="5000", accept="*/*")
    async with connection(ingress.port) as caller:
        assert (await caller.call(GOOD, headers)).status == 200


async def test_nothing_of_this_was_published(store: Store) -> None:
    # The last of this module.
    assert await store.no_messages()

"""Requests that two parsers could read differently (smuggling), and what old or odd clients send."""

import asyncio
from collections.abc import Mapping

import pytest

from tests.support.wire.http1 import JSON, LOG_EVENT, Connection, connection, head_of, request
from tests.support.wire.ingress import Ingress, Store

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

GOOD = b'{"event_name":"grammar","forward_to_statsig":false}'
HIDDEN = request(b'{"event_name":"hidden"}')
LENGTH = f"content-length: {len(GOOD)}"
CHUNKS = b"%x\r\n%b\r\n0\r\n" % (len(GOOD), GOOD)
H2C = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA")


def bare_host(head: bytes) -> bytes:
    return head.replace(b"host: test\r\n", b"")


NO_HTTP: Mapping[str, bytes] = {
    "two lengths": head_of("content-length: 5", "content-length: 6"),
    "a length that is no number": head_of("content-length: abc"),
    "a length with a sign": head_of(f"content-length: +{len(GOOD)}"),
    "a negative length": head_of("content-length: -1"),
    "an empty length": head_of("content-length: "),
    "a length of 23 digits": head_of("content-length: " + "9" * 23),
    "chunks and a length": head_of("transfer-encoding: chunked", LENGTH),
    "an unknown coding": head_of("transfer-encoding: xchunked"),
    "identity": head_of("transfer-encoding: identity", LENGTH),
    "a coding after chunks": head_of("transfer-encoding: chunked, gzip"),
    "chunks in HTTP/1.0": head_of("transfer-encoding: chunked", version="1.0"),
    "a coding after a control character": head_of("transfer-encoding: \x0bchunked"),
    "a blank before the colon": head_of(f"content-length : {len(GOOD)}"),
    "a folded line": head_of("a: b\r\n c", LENGTH),
    "a bare carriage return": head_of("a: b\rc", LENGTH),
    "a NUL": head_of("a: b\0c", LENGTH),
    "a control character": head_of("a: b\x01c", LENGTH),
    "a name with a bracket": head_of("a(b: c", LENGTH),
    "no name": head_of(": c", LENGTH),
    "no colon": head_of("abc", LENGTH),
    "no host": bare_host(head_of(LENGTH)),
    "two hosts": head_of("host: other", LENGTH),
    "a blank in the method": head_of(LENGTH, method="PO ST"),
    "a blank in the target": head_of(LENGTH, path=f"{LOG_EVENT} x"),
    "HTTP/1.2": head_of(LENGTH, version="1.2"),
}
"""Answered 400 and closed."""

BROKEN_CHUNKS: Mapping[str, bytes] = {
    "no number": b"zz\r\n",
    "a prefix": b"0x" + CHUNKS,
    "a sign": b"-1\r\n",
    "too large a number": b"f" * 19 + b"\r\n",
    "no line end": b"%x\r\n%bXX0\r\n\r\n" % (len(GOOD), GOOD),
}


async def status_then_end(caller: Connection) -> int:
    status = (await caller.answer()).status
    assert await caller.is_closed()
    return status


@pytest.mark.parametrize("head", NO_HTTP.values(), ids=NO_HTTP.keys())
async def test_what_is_no_http_is_refused_and_what_follows_it_ignored(ingress: Ingress, head: bytes) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head + HIDDEN)

        assert await status_then_end(caller) in {400, 501}


@pytest.mark.parametrize("chunks", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS.keys())
async def test_what_follows_broken_chunks_is_ignored(ingress: Ingress, chunks: bytes) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head_of("transfer-encoding: chunked") + chunks + HIDDEN)

        assert await caller.is_closed()


@pytest.mark.parametrize(
    "data",
    [b"\x00\xff\xfe" * 20 + b"\r\n\r\n", b"GET /\r\n\r\n"],
    ids=["bytes", "HTTP/0.9"],
)
async def test_what_is_another_protocol_is_closed(ingress: Ingress, data: bytes) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(data)

        assert await caller.is_closed()


@pytest.mark.parametrize("pause_seconds", [0.0, 0.05], ids=["at once", "later"])
async def test_an_upgrade_is_ignored_and_the_call_served(ingress: Ingress, pause_seconds: float) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head_of(*H2C, LENGTH))
        await asyncio.sleep(pause_seconds)  # the body in a packet of its own
        await caller.send(GOOD + request(GOOD))

        assert [(await caller.answer()).status for _ in range(2)] == [200, 200]


async def test_the_body_of_a_request_that_would_upgrade_is_no_request(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head_of(*H2C, f"content-length: {len(HIDDEN)}"))
        await caller.send(HIDDEN)

        assert (await caller.answer()).status == 400  # it is no JSON
        assert (await caller.call(GOOD)).status == 200


async def test_a_websocket_is_refused(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(
            head_of(
                "connection: Upgrade",
                "upgrade: websocket",
                "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
                "sec-websocket-version: 13",
                method="GET",
            )
        )

        assert (await caller.answer()).status == 403


@pytest.mark.parametrize("trailer", [b"connect-timeout-ms: 0", b"x-serverless-authorization: Bearer x"])
async def test_trailers_are_no_headers(ingress: Ingress, store: Store, trailer: bytes) -> None:
    async with connection(ingress.port) as caller:
        # All in one packet, and another call behind it.
        await caller.send(head_of("transfer-encoding: chunked") + CHUNKS + trailer + b"\r\n\r\n" + request(GOOD))
        answers = [await caller.answer() for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    row = await store.row(answers[0].json()["eventId"])
    assert row["caller"] is None


async def test_what_may_not_be_a_trailer_ends_the_connection(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head_of("transfer-encoding: chunked") + CHUNKS + b"authorization: Bearer x\r\n\r\n" + HIDDEN)

        assert await caller.is_closed()


async def test_blanks_around_values_do_not_count(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        headers = {"content-type": " application/json \t", "connect-protocol-version": "1  "}
        assert (await caller.call(GOOD, headers)).status == 200


async def test_http_1_0_is_refused_and_not_answered_in_chunks(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head_of(LENGTH, version="1.0") + GOOD)
        answer = await caller.answer()

        assert answer.status == 400
        assert "transfer-encoding" not in answer.headers
        assert await caller.is_closed()


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head_of(LENGTH, "expect: 100-continue"))
        assert (await caller.answer()).status == 100
        await caller.send(GOOD)

        assert (await caller.answer()).status == 200


@pytest.mark.parametrize("path", [LOG_EVENT + "\xff", LOG_EVENT + "%ff%zz", "*", "http://test/x"])
async def test_odd_targets_are_refused(ingress: Ingress, path: str) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head_of("content-length: 0", path=path))

        assert (await caller.answer()).status in {400, 404}


async def test_a_thousand_pipelined_calls_are_answered_in_order(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        sending = asyncio.create_task(caller.send(b"".join(_pipelined(number) for number in range(1000))))
        statuses = [(await caller.answer()).status for _ in range(1000)]
        await sending

    assert statuses == [200 if number % 2 else 404 for number in range(1000)]


def _pipelined(number: int) -> bytes:
    return request(GOOD, JSON, path=LOG_EVENT if number % 2 else "/x")


async def test_nothing_hidden_was_written(store: Store) -> None:
    # The last of this module.
    assert await store.rows("e.event_name != 'grammar'") == []

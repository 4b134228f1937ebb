"""The server's bounds on a connection, tested with raw bytes."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ingress.http import discarding
from tests.support.wire.http1 import JSON, LOG_EVENT, LOG_EVENTS, Connection, connection, head_of, request
from tests.support.wire.ingress import Ingress, Store, running_ingress

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

GOOD = b'{"event_name":"bounds","forward_to_statsig":false}'
MAX_HEAD_BYTES = 16_384
QUIET_SECONDS = 0.6
"""Of a connection, of a body, and of a client that does not take its answer."""

PATIENCE_SECONDS = 5.0
"""For what is to happen after QUIET_SECONDS, or twice that."""

CHUNKED = b"%x\r\n%b\r\n0\r\n" % (len(GOOD), GOOD)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingress(module_environment: dict[str, str]) -> AsyncIterator[Ingress]:
    async with running_ingress(
        module_environment,
        MAX_HEAD_BYTES=str(MAX_HEAD_BYTES),
        MAX_CONNECTIONS="40",
        IDLE_TIMEOUT_SECONDS=str(QUIET_SECONDS),
        REQUEST_READ_TIMEOUT_SECONDS=str(QUIET_SECONDS),
        WRITE_TIMEOUT_SECONDS=str(QUIET_SECONDS),
    ) as running:
        yield running


async def taken(caller: Connection, piece: bytes, *, at_most: int) -> int:
    """Bytes that could be sent until the connection was closed."""
    sent = 0
    try:
        while sent < at_most:
            await caller.send(piece)
            sent += len(piece)
    except ConnectionError:
        pass
    return sent


async def until_closed(caller: Connection) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await caller.rest()


@pytest.mark.parametrize(
    "head",
    [
        head_of(*(f"a{number}: b" for number in range(101))),
        head_of("a: " + "b" * MAX_HEAD_BYTES),
        head_of(*(f"a{number}: {'b' * 400}" for number in range(60))),
        head_of(path=f"{LOG_EVENT}?{'a' * MAX_HEAD_BYTES}"),
    ],
    ids=["many headers", "a long header", "headers that are long together", "a long target"],
)
async def test_a_head_that_is_too_large_is_answered_431(ingress: Ingress, head: bytes) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head + GOOD)

        assert (await caller.answer()).status == 431
        await until_closed(caller)


async def test_a_head_of_what_is_allowed_is_served(ingress: Ingress) -> None:
    headers = {f"a{number}": "b" * 150 for number in range(90)}
    async with connection(ingress.port) as caller:
        assert (await caller.call(GOOD, JSON | headers)).status == 200


@pytest.mark.parametrize(
    ("before", "piece"),
    [
        (f"POST {LOG_EVENT} HTTP/1.1\r\n".encode(), b"a: b\r\n" * 1000),
        (head_of("transfer-encoding: chunked") + CHUNKED, b"a: b\r\n" * 1000),
        (head_of("transfer-encoding: chunked") + b"2;a=", b"a" * 10_000),
    ],
    ids=["head", "trailers", "chunk extension"],
)
async def test_what_has_no_end_is_cut_off(ingress: Ingress, before: bytes, piece: bytes) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(before)

        assert await taken(caller, piece, at_most=50_000_000) < 20_000_000


@pytest.mark.parametrize(
    ("call", "more", "status"),
    [
        (request(GOOD), b"", 200),
        (request(GOOD), b"\r\n", 200),
        (head_of("content-length: 10", path="/x"), b"a", 404),
        (head_of("content-length: 10", content_type="text/plain"), b"a", 415),
        (head_of("content-length: 10", "connect-timeout-ms: x"), b"a", 400),
        (head_of("content-length: 10", "connect-timeout-ms: 50"), b"a", 504),
    ],
    ids=["nothing", "a line end", "a byte after 404", "a byte after 415", "a byte after 400", "a byte after 504"],
)
async def test_a_connection_is_not_held_after_an_answer(
    ingress: Ingress, call: bytes, more: bytes, status: int
) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(call)
        assert (await caller.answer()).status == status
        await caller.send(more)

        await until_closed(caller)


async def test_what_comes_late_of_a_body_is_not_taken_for_a_request(ingress: Ingress) -> None:
    hidden = request(b'{"event_name":"hidden"}')
    async with connection(ingress.port) as caller:
        await caller.send(head_of(f"content-length: {len(hidden)}", path="/x"))
        answer = await caller.answer()
        assert answer.status == 404
        assert not answer.keeps_the_connection
        await caller.send(hidden)

        assert await caller.is_closed()


@pytest.mark.parametrize("path", ["/x", "/health"])
async def test_a_small_body_that_nobody_needs_is_read_past(ingress: Ingress, path: str) -> None:
    async with connection(ingress.port) as caller:
        assert (await caller.call(bytes(60_000), JSON, path=path)).keeps_the_connection
        assert (await caller.call(GOOD)).status == 200


@pytest.mark.parametrize(("path", "status"), [("/x", 404), ("/health", 200), (LOG_EVENT, 400), (LOG_EVENTS, 400)])
async def test_a_large_body_that_nobody_needs_is_answered_unread_and_the_connection_closed(
    ingress: Ingress, path: str, status: int
) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head_of("content-length: 10000000", path=path))
        answer = await caller.answer()
        assert answer.status == status
        assert not answer.keeps_the_connection

        await until_closed(caller)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_client_that_sends_all_of_a_large_body_first_sees_the_answer(ingress: Ingress, chunked: bool) -> None:
    body = bytes(5_000_000)
    async with connection(ingress.port) as caller:
        if chunked:
            await caller.send(head_of("transfer-encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            await caller.send(request(body))
        answer = await caller.answer()

        assert answer.status == 400
        assert not answer.keeps_the_connection
        await until_closed(caller)


async def test_where_no_body_can_be_discarded_the_answer_is_complete_and_the_connection_reset(
    module_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discarding, "MAX_DISCARDED", 0)
    monkeypatch.setattr(discarding, "WAIT_SECONDS", 0.01)
    async with running_ingress(module_environment) as without_room, connection(without_room.port) as caller:
        await caller.send(head_of("content-length: 10000000"))
        answer = await caller.answer()
        assert answer.status == 400
        assert answer.json()["code"] == "invalid_argument"

        # The server reads nothing of what may follow: it does not wait for it, as it would after a whole answer.
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await taken(caller, bytes(65_536), at_most=10_000_000) < 10_000_000


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="bounded by Linux")
async def test_a_client_that_takes_no_answer_is_reset(ingress: Ingress) -> None:
    events = b",".join([b'{"event_name":"a","actor_id":"' + b"a" * 8_000 + b'"}'] * 400)
    async with connection(ingress.port, receive_bytes=4096) as caller:
        caller.stop_reading()
        await taken(caller, request(b'{"events":[' + events + b"]}", path=LOG_EVENTS), at_most=8 * len(events))
        # The kernel that gives a connection up says so to whoever sends the next byte.
        async with asyncio.timeout(4 * PATIENCE_SECONDS):
            while await taken(caller, b"\r\n", at_most=2):
                await asyncio.sleep(0.05)


async def test_calls_beside_clients_that_take_no_answer_are_served(ingress: Ingress) -> None:
    events = b",".join([b'{"event_name":"a","actor_id":"' + b"a" * 8_000 + b'"}'] * 400)
    async with (
        connection(ingress.port, receive_bytes=4096) as one,
        connection(ingress.port, receive_bytes=4096) as other,
    ):
        for caller in (one, other):
            caller.stop_reading()
            await caller.send(request(b'{"events":[' + events + b"]}", path=LOG_EVENTS))
        async with connection(ingress.port) as polite:
            weighty = b'{"event_name":"bounds","forward_to_statsig":false,"unknown":"' + b"," * 50_000 + b'"}'
            statuses = [(await polite.call(body)).status for body in [weighty, GOOD] * 5]

    assert statuses == [200] * 10


async def test_connections_over_the_limit_wait_their_turn(ingress: Ingress) -> None:
    others = [await Connection.open(ingress.port) for _ in range(60)]
    started = time.monotonic()
    try:
        async with connection(ingress.port) as caller:
            assert (await caller.call(GOOD)).status == 200
    finally:
        for other in others:
            await other.close()
    assert time.monotonic() - started > QUIET_SECONDS / 2, "nobody had to wait"


async def test_nothing_hidden_was_written(store: Store) -> None:
    # The last of this module.
    assert await store.rows("e.event_name = 'hidden'") == []

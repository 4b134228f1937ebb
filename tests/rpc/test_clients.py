"""Clients that hang up, are slow, or never finish."""

import asyncio
import time

import pytest

from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from tests.support.sample_requests import sample_request
from tests.support.wire.http1 import JSON, LOG_EVENT, Connection, connection, request
from tests.support.wire.ingress import Ingress, Store, open_store, running_ingress
from tests.support.wire.refusals import assert_error
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

READ_TIMEOUT_SECONDS = 0.5
"""Of the module's ingress; see conftest."""

HEAD = f"POST {LOG_EVENT} HTTP/1.1\r\nhost: test\r\n".encode()
HEADERS = HEAD + b"content-type: application/json\r\n"
GOOD = b'{"event_name":"slow","forward_to_statsig":false}'


async def test_an_event_whose_caller_hangs_up_is_whole_or_not_there(ingress: Ingress, store: Store) -> None:
    # The clients go at different moments of their calls: what remains is committed, pending and published, or nothing.
    for turn in range(20):
        caller = await Connection.open(ingress.port)
        await caller.send(request({"event_name": "hung up"}, JSON))
        for _ in range(turn * 3):
            await asyncio.sleep(0)
        caller.hang_up()
    async with EventLoggingServiceClient(ingress.url) as client:
        last = await client.log_event(sample_request(event_name="last"))

    rows = await store.rows("e.event_name IN ('hung up', 'last')")
    assert {row["state"] for row in rows} == {"PENDING"}
    ids = {row["event_id"] for row in rows}
    assert last.event_id in ids
    assert set(await store.messages(expected=len(ids))) == ids


async def test_an_event_whose_caller_hangs_up_between_commit_and_publish_is_published(
    environment: dict[str, str],
) -> None:
    async with (
        tcp_proxy(environment["PUBSUB_EMULATOR_HOST"]) as proxy,
        open_store(environment) as store,
        running_ingress(environment, PUBSUB_EMULATOR_HOST=proxy.address, PUBLISH_TIMEOUT_SECONDS="10") as ingress,
    ):
        await proxy.switch(Mode.BLACKHOLE)
        caller = await Connection.open(ingress.port)
        await caller.send(request({"event_name": "hung up"}, JSON))
        (row,) = await store.until_rows(1)
        caller.hang_up()
        await proxy.switch(Mode.PASS)

        assert row["state"] == "PENDING"
        assert await store.messages(expected=1) == [row["event_id"]]


async def test_a_silent_pubsub_delays_no_answer_and_loses_nothing(environment: dict[str, str]) -> None:
    async with (
        tcp_proxy(environment["PUBSUB_EMULATOR_HOST"]) as proxy,
        open_store(environment) as store,
        running_ingress(environment, PUBSUB_EMULATOR_HOST=proxy.address, PUBLISH_TIMEOUT_SECONDS="10") as ingress,
        connection(ingress.port) as caller,
    ):
        await proxy.switch(Mode.BLACKHOLE)
        answer = await caller.call({"event_name": "late"}, JSON | {"connect-timeout-ms": "500"})
        await proxy.switch(Mode.PASS)

        assert answer.status == 200
        (row,) = await store.rows()
        assert row["state"] == "PENDING"
        assert await store.messages(expected=1) == [row["event_id"]]


@pytest.mark.parametrize("body", [b"", b'{"event_name":"unfini'], ids=["no body", "half a body"])
async def test_a_body_that_never_ends_is_refused_in_time(ingress: Ingress, store: Store, body: bytes) -> None:
    started = time.monotonic()
    async with connection(ingress.port) as caller:
        await caller.send(HEADERS + b"content-length: 100\r\n\r\n" + body)
        answer = await caller.answer()

        assert_error(answer, "deadline_exceeded")
        assert await caller.is_closed()
    assert READ_TIMEOUT_SECONDS * 0.9 < time.monotonic() - started < READ_TIMEOUT_SECONDS + 2
    assert await store.rows("STARTS_WITH(e.event_name, 'unfini')") == []


async def test_a_body_that_trickles_is_refused_in_time(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(HEADERS + b"transfer-encoding: chunked\r\n\r\n")
        answering = asyncio.create_task(caller.answer())
        while not answering.done():
            await caller.send(b"1\r\n \r\n")
            await asyncio.wait([answering], timeout=0.05)

        assert_error(answering.result(), "deadline_exceeded")


async def test_a_body_that_takes_its_time_within_the_bound_is_served(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(HEADERS + f"content-length: {len(GOOD)}\r\n\r\n".encode())
        for start in range(0, len(GOOD), 16):
            await caller.send(GOOD[start : start + 16])
            await asyncio.sleep(0.01)

        assert (await caller.answer()).status == 200


async def test_an_idle_connection_outlives_the_read_bound(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        assert (await caller.call(GOOD)).status == 200
        await asyncio.sleep(READ_TIMEOUT_SECONDS + 0.1)  # the bound is what this is about

        assert (await caller.call(GOOD)).status == 200


@pytest.mark.parametrize("head", [b"", b"POST"], ids=["nothing", "a word"])
async def test_a_connection_that_never_begins_is_closed_in_time(ingress: Ingress, head: bytes) -> None:
    async with connection(ingress.port) as caller:
        await caller.send(head)

        async with asyncio.timeout(READ_TIMEOUT_SECONDS + 2):
            assert await caller.is_closed()


@pytest.mark.parametrize("before", [0, 1], ids=["the first", "the second"])
@pytest.mark.parametrize("head", [b"", HEAD], ids=["nothing", "some headers"])
async def test_a_head_that_never_ends_is_closed_in_time(
    module_environment: dict[str, str], before: int, head: bytes
) -> None:
    async with (
        running_ingress(module_environment, IDLE_TIMEOUT_SECONDS="0.2", REQUEST_READ_TIMEOUT_SECONDS="0.2") as ingress,
        connection(ingress.port) as caller,
    ):
        for _ in range(before):
            assert (await caller.call(GOOD)).status == 200
        await caller.send(head)

        async with asyncio.timeout(3):
            assert await caller.is_closed()

"""HTTP/2 without TLS: served as HTTP/1.1 is, and bounded alike."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from tests.support.wire.http1 import LOG_EVENTS
from tests.support.wire.http2 import Http2Connection, http2_connection
from tests.support.wire.ingress import Ingress, running_ingress

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

GOOD = b'{"event_name":"two","forward_to_statsig":false}'
QUIET_SECONDS = 0.6
PATIENCE_SECONDS = 5.0
"""For what is to happen after QUIET_SECONDS, or twice that."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingress(module_environment: dict[str, str]) -> AsyncIterator[Ingress]:
    async with running_ingress(
        module_environment,
        MAX_HEAD_BYTES="16384",
        IDLE_TIMEOUT_SECONDS=str(QUIET_SECONDS),
        REQUEST_READ_TIMEOUT_SECONDS=str(QUIET_SECONDS),
        WRITE_TIMEOUT_SECONDS=str(QUIET_SECONDS),
    ) as running:
        yield running


async def assert_serves(ingress: Ingress) -> None:
    async with http2_connection(ingress.port) as another:
        assert await another.call(GOOD) == 200


async def test_calls_side_by_side_on_one_connection_are_all_served(ingress: Ingress) -> None:
    async with http2_connection(ingress.port) as caller:
        streams = [caller.begin(GOOD) for _ in range(100)]

        assert [await caller.status(stream) for stream in streams] == [200] * 100


async def test_an_unfinished_body_is_refused_in_time_and_leaves_the_connection(ingress: Ingress) -> None:
    async with http2_connection(ingress.port) as caller:
        stream = caller.begin(GOOD[:9], ends=False)

        assert await caller.status(stream) == 504
        assert await caller.call(GOOD) == 200


async def test_an_idle_connection_is_closed_in_time(ingress: Ingress) -> None:
    async with http2_connection(ingress.port) as caller:
        assert await caller.call(GOOD) == 200

        assert await caller.seconds_until_closed(PATIENCE_SECONDS) > QUIET_SECONDS / 2


async def test_a_connection_without_a_request_is_closed_in_time(ingress: Ingress) -> None:
    async with http2_connection(ingress.port) as caller:
        await caller.seconds_until_closed(PATIENCE_SECONDS)


async def test_headers_that_never_end_are_closed_in_time(ingress: Ingress) -> None:
    async with http2_connection(ingress.port) as caller:
        caller.send_headers_without_end()

        await caller.seconds_until_closed(PATIENCE_SECONDS)


async def test_a_client_that_opens_no_window_for_its_answer_is_cut_off(ingress: Ingress) -> None:
    bad = b",".join([b'{"event_name":""}'] * 400)
    async with http2_connection(ingress.port, window=0) as caller:
        caller.begin(b'{"events":[' + bad + b"]}", path=LOG_EVENTS)

        await caller.seconds_until_closed(2 * PATIENCE_SECONDS)


@pytest.mark.parametrize(
    "headers",
    [{f"a{number}": "b" for number in range(200)}, {f"a{number}": "b" * 500 for number in range(90)}],
    ids=["many headers", "headers that are long together"],
)
async def test_a_head_that_is_too_large_is_not_served(ingress: Ingress, headers: Mapping[str, str]) -> None:
    async with http2_connection(ingress.port) as caller:
        assert await caller.status(caller.begin(GOOD, headers)) in {431, None}
    await assert_serves(ingress)


async def test_headers_without_end_are_cut_off(ingress: Ingress) -> None:
    async with http2_connection(ingress.port) as caller:
        caller.send_headers_without_end()
        await caller.continue_headers(frames=3_000)

        assert await caller.seconds_until_closed(PATIENCE_SECONDS) < QUIET_SECONDS
        assert caller.was_told_to_go
    await assert_serves(ingress)


async def test_streams_reset_as_fast_as_they_begin_are_cut_off(ingress: Ingress) -> None:
    async with http2_connection(ingress.port) as caller:
        await caller.begin_and_reset(streams=20_000)

        assert await caller.seconds_until_closed(PATIENCE_SECONDS) < QUIET_SECONDS
    await assert_serves(ingress)


async def test_calls_beside_a_flood_of_pings_are_served(module_environment: dict[str, str]) -> None:
    # With the usual timeouts: on a slow machine a call may take QUIET_SECONDS, after which its connection is closed.
    async with running_ingress(module_environment) as patient, http2_connection(patient.port) as flood:
        flooding = asyncio.create_task(flood.ping(frames=200_000))
        started = time.monotonic()
        for _ in range(5):
            await assert_serves(patient)
        assert time.monotonic() - started < PATIENCE_SECONDS
        await flooding


async def test_a_connection_is_told_that_the_process_ends(module_environment: dict[str, str]) -> None:
    caller: Http2Connection | None = None
    async with running_ingress(module_environment) as ending:
        caller = await Http2Connection.open(ending.port)
        assert await caller.call(GOOD) == 200
    assert await caller.seconds_until_closed(PATIENCE_SECONDS) < 1
    assert caller.was_told_to_go
    await caller.close()

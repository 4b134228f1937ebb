"""The bound on all bodies in flight: which call is refused, and that its body is not read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import pytest
import pytest_asyncio

from tests.rpc.test_fairness import FLOOD, POLITE
from tests.support.wire.http1 import LOG_EVENT, LOG_EVENTS, Answer, Connection, connection, head_of
from tests.support.wire.http2 import http2_connection
from tests.support.wire.ingress import Ingress, running_ingress
from tests.support.wire.refusals import assert_error

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

GOOD: Final = b'{"event_name":"a","forward_to_statsig":false}'
LARGE: Final = 500_000
"""Two of which are half of what all may hold, so that one caller may have no third."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingress(module_environment: dict[str, str]) -> AsyncIterator[Ingress]:
    async with running_ingress(module_environment, MAX_BODY_BYTES_IN_FLIGHT=str(4 * LARGE)) as running:
        yield running


def head(caller: dict[str, str], length: int | None = LARGE) -> bytes:
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return head_of(size, f"authorization: {caller['authorization']}", path=LOG_EVENTS)


async def until_refused(ingress: Ingress, stalled: AsyncExitStack, begun: bytes) -> tuple[int, Answer]:
    """Begin such requests, one after the other, until one is answered; how many were not, and the answer."""
    for held in range(10):
        caller = await stalled.enter_async_context(connection(ingress.port))
        await caller.send(begun)
        answering = asyncio.create_task(caller.answer())
        # The other caller's call is begun behind this one, and answered: so this one is not going to be.
        async with connection(ingress.port) as other:
            assert (await other.call(GOOD, POLITE)).status == 200
        await asyncio.wait([answering], timeout=0.1)
        if answering.done():
            return held, answering.result()
        answering.cancel()
    raise AssertionError("none was refused")


async def assert_lets_in(ingress: Ingress) -> None:
    """Once the server has seen that the others hung up."""
    async with asyncio.timeout(10):
        while True:
            async with connection(ingress.port) as caller:
                answer = await caller.call(b" " * (LARGE - 2) + b"{}", FLOOD, path=LOG_EVENTS)
            if b"in flight" not in answer.body:
                return


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_caller_whose_bodies_stall_is_refused_and_another_one_is_served(
    ingress: Ingress, chunked: bool
) -> None:
    begun = head(FLOOD, None) + b"%x\r\n" % LARGE + bytes(LARGE - 1) if chunked else head(FLOOD)
    async with AsyncExitStack() as stalled:
        held, answer = await until_refused(ingress, stalled, begun)

        # The step that is counted with a body without length is what this one is refused at.
        assert held in ((1, 2) if chunked else (2,))
        found = assert_error(answer, "resource_exhausted", retryable=True)
        assert found.retry_info is not None
        assert b"this caller" in answer.body
        assert not answer.keeps_the_connection
        async with connection(ingress.port) as polite:
            assert (await polite.call(b" " * LARGE + GOOD, POLITE)).status == 200

    await assert_lets_in(ingress)


async def test_small_bodies_of_a_refused_caller_still_find_room_beside_large_ones(ingress: Ingress) -> None:
    async with AsyncExitStack() as stalled:
        for _ in range(2):
            caller: Connection = await stalled.enter_async_context(connection(ingress.port))
            await caller.send(head(FLOOD, LARGE - 1000))
        async with connection(ingress.port) as polite:
            assert (await polite.call(GOOD, POLITE)).status == 200
            assert (await polite.call(GOOD, FLOOD)).status == 200

    await assert_lets_in(ingress)


async def test_over_http2_a_body_that_says_that_it_is_too_large_is_refused_unread(ingress: Ingress) -> None:
    async with http2_connection(ingress.port) as caller:
        stream = caller.begin(b"{", {"content-length": str(2 * 1024 * 1024)}, path=LOG_EVENT, ends=False)

        assert await caller.status(stream) == 400
        assert await caller.call(GOOD) == 200

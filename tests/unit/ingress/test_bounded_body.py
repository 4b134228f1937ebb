"""BoundedBody: what is refused unread, how much all bodies hold together, and which body goes on when."""

import asyncio
from typing import Any

import pytest

from ingress.call_context import begin_call
from ingress.decoding.budgets import BodyBudget
from ingress.http.body_bounds import STEP_BYTES, BoundedBody, Pace
from shared.errors import CallerOverloadedError, OverloadedError, RequestTooLargeError
from shared.events.event import Caller, CallerSource

LIMIT = 4 * STEP_BYTES
PIECE_BYTES = STEP_BYTES // 8


class Bodies:
    """Of one process, and what was received of each."""

    def __init__(self, budget_bytes: int = 100 * STEP_BYTES) -> None:
        self._budget = BodyBudget(budget_bytes)
        self._pace = Pace()
        self.received: list[str] = []

    def body(self, name: str = "a", *, length: int | None = None, caller: str = "") -> BoundedBody:
        """Begins a call of this caller; the body never ends."""

        async def receive() -> Any:
            self.received.append(name)
            return {"type": "http.request", "body": bytes(PIECE_BYTES), "more_body": True}

        begin_call().caller = Caller(caller, CallerSource.CLOUD_RUN_IAM)
        return BoundedBody(receive, limit=LIMIT, length=length, budget=self._budget, pace=self._pace)


async def test_a_body_that_says_that_it_is_too_large_is_not_read() -> None:
    bodies = Bodies()

    with pytest.raises(RequestTooLargeError, match=f"larger than {LIMIT} bytes"):
        await bodies.body(length=LIMIT + 1).receive()

    assert bodies.received == []


async def test_a_body_that_becomes_too_large_is_read_no_further() -> None:
    bodies = Bodies()
    body = bodies.body()

    for _ in range(LIMIT // PIECE_BYTES):
        await body.receive()
    with pytest.raises(RequestTooLargeError):
        await body.receive()


async def test_a_caller_with_much_in_flight_is_refused_unread_and_another_one_is_not() -> None:
    bodies = Bodies(2 * LIMIT)
    await bodies.body(length=LIMIT, caller="a").receive()

    with pytest.raises(CallerOverloadedError):
        await bodies.body("refused", length=LIMIT, caller="a").receive()
    await bodies.body("small", length=100, caller="b").receive()

    assert bodies.received == ["a", "small"]


async def test_what_a_body_holds_is_given_back_with_its_call() -> None:
    bodies = Bodies(LIMIT)
    for _ in range(3):
        body = bodies.body(length=LIMIT)
        await body.receive()
        with pytest.raises(OverloadedError):
            await bodies.body(length=LIMIT).receive()
        body.end()
        body.end()


async def test_a_refused_body_holds_nothing() -> None:
    bodies = Bodies(LIMIT)
    first = bodies.body(length=LIMIT)
    await first.receive()
    refused = bodies.body(length=LIMIT)
    with pytest.raises(OverloadedError):
        await refused.receive()
    refused.end()

    with pytest.raises(OverloadedError):
        await bodies.body(length=LIMIT).receive()
    first.end()
    await bodies.body(length=LIMIT).receive()


async def test_a_body_without_length_holds_what_has_come_of_it() -> None:
    bodies = Bodies(3 * STEP_BYTES)
    body = bodies.body()
    for _ in range(STEP_BYTES // PIECE_BYTES + 1):
        await body.receive()  # two steps of three

    with pytest.raises(OverloadedError):
        await bodies.body(length=2 * STEP_BYTES, caller="b").receive()
    body.end()
    await bodies.body(length=2 * STEP_BYTES, caller="b").receive()


async def test_a_small_body_is_received_without_a_pause() -> None:
    bodies = Bodies()
    body = bodies.body(length=STEP_BYTES)
    passes = _Passes()

    for _ in range(STEP_BYTES // PIECE_BYTES):
        await body.receive()

    assert passes.count == 0


async def test_of_large_bodies_one_goes_on_at_each_pass_of_the_loop_in_their_order() -> None:
    bodies = Bodies()
    large = {name: bodies.body(name) for name in "abc"}
    for body in large.values():
        for _ in range(STEP_BYTES // PIECE_BYTES):
            await body.receive()
    bodies.received.clear()
    passes = _Passes()
    seen: list[tuple[str, int]] = []

    async def receive_one(name: str) -> None:
        await large[name].receive()
        seen.append((name, passes.count))

    async with asyncio.TaskGroup() as tasks:
        for name in large:
            tasks.create_task(receive_one(name))

    assert [name for name, _ in seen] == ["a", "b", "c"]
    assert len({count for _, count in seen}) == 3


async def test_a_body_that_is_given_up_keeps_no_other_waiting() -> None:
    pace = Pace()
    given_up = asyncio.create_task(pace.next_step())
    waiting = asyncio.create_task(pace.next_step())
    await asyncio.sleep(0)
    given_up.cancel()

    await waiting


class _Passes:
    """Counts those of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._pass)

    def _pass(self) -> None:
        self.count += 1
        self._loop.call_soon(self._pass)

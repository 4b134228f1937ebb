"""The body of one call as it comes in: how large it may be, what all bodies may take together, and at which pace."""

import asyncio
from collections import deque
from typing import Final

from ingress.call_context import current_call
from ingress.callers.fair_share import queue_of
from ingress.decoding.budgets import BodyBudget
from ingress.http.refusals import Message
from ingress.http.request_body import Receive
from shared.errors import RequestTooLargeError

STEP_BYTES: Final = 64 * 1024
"""Of a body that does not say how long it is, so much is taken at once. A body of so much is read without a pause: the
server hands on 8 KiB a time (h2corn 2.0), which takes the event loop some 10 us each."""


class Pace:
    """Lets one large body go on at each pass of the event loop, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_going_on = False

    async def next_step(self) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiter)
        if not self._is_going_on:
            self._is_going_on = True
            loop.call_soon(self._let_one_go, loop)
        await waiter

    def _let_one_go(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break
        self._is_going_on = bool(self._waiting)
        if self._is_going_on:
            loop.call_soon(self._let_one_go, loop)


class BoundedBody:
    """To be received by the call's own task, once its caller is known, and ended with the call, which holds its bytes.

    For one task; the budget and the pace are shared by all.
    """

    def __init__(self, receive: Receive, *, limit: int, length: int | None, budget: BodyBudget, pace: Pace) -> None:
        """`length` is what the head says; None where it says nothing."""
        self._receive = receive
        self._limit = limit
        self._length = length
        self._budget = budget
        self._pace = pace
        self._queue = ""
        self._taken = 0
        self._received = 0
        self._pauses_at = STEP_BYTES
        self._has_begun = False

    async def receive(self) -> Message:
        """As ASGI has it.

        Raises:
            RequestTooLargeError: the body is too large, or says that it will be: nothing of it is read then.
            OverloadedError: too much is in flight, or CallerOverloadedError: of this caller. Of a body that says its
                length nothing is read.
        """
        if not self._has_begun:
            self._begin()
        if self._received >= self._pauses_at:
            self._pauses_at = self._received + STEP_BYTES
            await self._pace.next_step()
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._check(self._received)
            while self._taken < self._received:
                self._take(STEP_BYTES)
        return message

    def end(self) -> None:
        if self._taken:
            self._budget.release(self._queue, self._taken)
            self._taken = 0

    def _begin(self) -> None:
        self._has_begun = True
        self._queue = queue_of(current_call().caller)
        if self._length:
            self._check(self._length)
            self._take(self._length)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise RequestTooLargeError(f"is larger than {self._limit} bytes")

    def _take(self, size: int) -> None:
        self._budget.take(self._queue, size)
        self._taken += size

"""Bounds on a body while it arrives: its own size, the bytes of all bodies in flight, the pace of reading."""

import asyncio
from collections import deque
from typing import Final

from ingress.call_context import current_call
from ingress.callers.fair_share import share_key_of
from ingress.decoding.budgets import BodyBudget
from ingress.http.refusals import Message
from ingress.http.request_body import Receive
from shared.errors import RequestTooLargeError

STEP_BYTES: Final = 64 * 1024
"""The step in which a body without a declared length takes from the budget, and after which every body pauses for a
turn (`Pace`). The server hands on 8 KiB at a time (h2corn 2.0), which takes the event loop some 10 us each."""


class Pace:
    """Lets one of the waiting large bodies go on in each pass of the event loop, first come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_scheduled = False

    async def next_step(self) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiter)
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._let_one_go, loop)
        await waiter

    def _let_one_go(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break
        self._is_scheduled = bool(self._waiting)
        if self._is_scheduled:
            loop.call_soon(self._let_one_go, loop)


class BoundedBody:
    """One body, whose bytes count for its caller in the shared budget until the call ends.

    Call `receive` in the call's own task once its caller is known (it reads `current_call`), and `end` when the call is
    over. Not for several tasks; the budget and the pace are shared by all bodies.
    """

    def __init__(self, receive: Receive, *, limit: int, length: int | None, budget: BodyBudget, pace: Pace) -> None:
        """`length` is the declared one; None if the head declares none."""
        self._receive = receive
        self._limit = limit
        self._length = length
        self._budget = budget
        self._pace = pace
        self._share_key = ""
        self._taken = 0
        self._received = 0
        self._pauses_at = STEP_BYTES
        self._has_begun = False

    async def receive(self) -> Message:
        """ASGI's `receive`. A body with a declared length is checked and counted before anything of it is read.

        Raises:
            RequestTooLargeError: the body is too large, or declares that it will be.
            CallerOverloadedError: this caller has too many bytes in flight.
            OverloadedError: all callers together have.
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
        """Release what the body took from the budget. Idempotent."""
        if self._taken:
            self._budget.release(self._share_key, self._taken)
            self._taken = 0

    def _begin(self) -> None:
        self._has_begun = True
        self._share_key = share_key_of(current_call().caller)
        if self._length:
            self._check(self._length)
            self._take(self._length)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise RequestTooLargeError(f"is larger than {self._limit} bytes")

    def _take(self, size: int) -> None:
        self._budget.take(self._share_key, size)
        self._taken += size

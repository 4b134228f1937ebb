"""Turns (`ingress/decoding/turns.py`) that callers take one after the other.

A slice that had to wait is done when the event loop has nothing else to do, or has had as much time for it as the last
slice took. So whatever else happens (a connection, a commit's answer, another caller's lone event) waits for one slice,
however many steps it has, and not for all that a caller has sent. Within one caller the oldest call goes first: it is
finished before the next is begun, so that its events go on to the commit and what was decoded of it is given back.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from heapq import heappop, heappush
from itertools import count
from time import perf_counter
from typing import Final

from ingress.callers.recent import RecentCallers
from shared.errors import CallerOverloadedError, OverloadedError

ROUND_SECONDS: Final = 0.001
"""For so long slices follow each other in one pass of the loop, and one more at the most. A lone event takes a tenth of
it: in less its call would wait though it holds nobody up, and more would be felt at each hop of another's call."""

LONE_ROUND_SECONDS: Final = 0.01
"""As above while a caller is alone, and only its own calls and questions about health would profit. In a round of 1 ms
an event of many lone calls would cost a tenth more, for it is turns that they would wait for, and not each other."""

SLICES_OF_A_ROUND: Final = 8
"""How many that waited are let go in one pass, where there is time for them: a pass of its own for each small slice
would cost a tenth of the slice."""

QUIET_SECONDS: Final = 0.00003
"""A pass of the loop that took less had nothing to do: an empty one takes 2 us, the least step of a call 50."""

PATIENCE_SECONDS: Final = 5.0
"""How long a call waits for its first turn at the most: as for a commit, which callers' deadlines allow for. The least
is half of it: calls that came together are refused one after the other, since each is followed by its next try."""

_GOLDEN: Final = 0.618034
"""Numbers that follow each other, times this, are spread evenly by their fractions."""

OWN_LOAD: Final = "too many calls of this caller are waiting; nothing was written"
WHOLE_LOAD: Final = "too many calls are waiting; nothing was written"

_Waiter = tuple[int, int, bool, asyncio.Future[bool]]
"""The call's number, for whose sake the oldest is first; one of its own; whether it waits for its first turn; and what
is done when it may go: True where it is the next in any case, else it may if there is time."""


class FairTurns:
    """Those of one process, whose event loop's thread they are for."""

    def __init__(self, *, patience_seconds: float = PATIENCE_SECONDS, now: Callable[[], float] = perf_counter) -> None:
        self._patience_seconds = patience_seconds
        self._now = now
        self._waiting: dict[str, list[_Waiter]] = {}
        """Of each caller a heap. None is empty."""
        self._callers: deque[str] = deque()
        """Those of `_waiting` whose oldest call may go, the next one first."""
        self._held: set[str] = set()
        """Callers of whom no call is begun."""
        self._late: list[str] = []
        """Callers whose turn it was when there was no more time, in their order."""
        self._recent = RecentCallers()
        self._numbers = count()
        self._round_began: float | None = None
        """None while no slice of the round has begun."""
        self._pass_began = 0.0
        self._others_until = 0.0
        """Until then everything else goes first."""
        self._is_ending = False

    async def turn(self, caller: str) -> None:
        """Wait until a slice of work for this caller may begin: not at all where there is time for it.

        To be asked for before each slice in the call's own task. A call that has had its first turn is not refused.

        Raises:
            CallerOverloadedError, OverloadedError: its first turn did not come in time.
        """
        number = _call.get()
        is_first = number is None
        if number is None:
            number = next(self._numbers)
            _call.set(number)
            self._recent.came(caller, self._now())
        if caller in self._callers or (is_first and caller in self._held) or not self._has_time():
            await self._wait(caller, number, is_first=is_first)

    def hold(self, caller: str) -> None:
        """Begin no further call of this caller; those that are begun go on."""
        self._held.add(caller)
        self._place(caller)

    def release(self, caller: str) -> None:
        self._held.discard(caller)
        self._place(caller)

    def _has_time(self) -> bool:
        now = self._now()
        if self._round_began is None:
            self._round_began = now
            self._end_pass_later()
            return True
        lasts = ROUND_SECONDS if self._recent.are_several(now) else LONE_ROUND_SECONDS
        return now < self._round_began + lasts

    def _end_pass_later(self) -> None:
        """In the next pass of the loop, behind what is ready for it by now."""
        if not self._is_ending:
            self._is_ending = True
            asyncio.get_running_loop().call_soon(self._end_pass)

    def _end_pass(self) -> None:
        now = self._now()
        self._is_ending = False
        if self._round_began is None:
            may_go = now - self._pass_began < QUIET_SECONDS or now >= self._others_until
        else:
            self._others_until = now + (now - self._round_began)
            self._round_began = None
            may_go = False
        self._pass_began = now
        if (may_go and self._let_go()) or self._callers:
            self._end_pass_later()

    def _let_go(self) -> bool:
        """Whether somebody goes."""
        for caller in reversed(self._late):
            if caller in self._callers:
                self._callers.remove(caller)
                self._callers.appendleft(caller)
        self._late.clear()
        is_next = True
        for _ in range(SLICES_OF_A_ROUND):
            if (waiter := self._pop()) is None:
                break
            waiter.set_result(is_next)
            is_next = False
        return not is_next

    def _pop(self) -> asyncio.Future[bool] | None:
        """The oldest call of the caller whose turn it is, those left out for which nobody waits any more."""
        while self._callers:
            caller = self._callers.popleft()
            waiter = heappop(self._waiting[caller])[-1]
            self._place(caller)
            if not waiter.done():
                return waiter
        return None

    def _place(self, caller: str) -> None:
        """Let the caller take turns, behind all others where it has not done so, or not."""
        heap = self._waiting.get(caller, [])
        if not heap:
            self._waiting.pop(caller, None)
        may_go = bool(heap) and not (caller in self._held and heap[0][2])
        if may_go != (caller in self._callers):
            if may_go:
                self._callers.append(caller)
                self._end_pass_later()
            else:
                self._callers.remove(caller)

    async def _wait(self, caller: str, number: int, *, is_first: bool) -> None:
        loop = asyncio.get_running_loop()
        gives_up_at = loop.time() + self._patience_seconds * (1 + number * _GOLDEN % 1) / 2
        refusal = CallerOverloadedError(OWN_LOAD) if caller in self._waiting else OverloadedError(WHOLE_LOAD)
        while True:
            waiter: asyncio.Future[bool] = loop.create_future()
            heappush(self._waiting.setdefault(caller, []), (number, next(self._numbers), is_first, waiter))
            self._place(caller)
            timer = loop.call_at(gives_up_at, _give_up, waiter, refusal) if is_first else None
            try:
                is_next = await waiter
            finally:
                if timer is not None:
                    timer.cancel()
            if self._has_time() or is_next:
                return
            if caller not in self._late:
                self._late.append(caller)


def _give_up(waiter: asyncio.Future[bool], refusal: OverloadedError) -> None:
    if not waiter.done():
        waiter.set_exception(refusal)


_call: ContextVar[int | None] = ContextVar("call_number", default=None)
"""When the current call asked for its first turn, in the order of calls."""

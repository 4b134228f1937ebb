"""Fair turns of the event loop (`ingress/decoding/turns.py`): callers take them in rotation.

Terms: a pass is one iteration of the event loop, a round the slices that follow each other in one pass. A slice that
had to wait is done when the loop has nothing else to do, or has had as much time for everything else as the last round
took. So everything else (a connection, a commit's answer, another caller's lone event) waits for one round, and not for
all that a caller has sent. Within one caller the oldest call goes first and is finished before the next one begins, so
that its events go on to the commit and its memory is released.
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
from ingress.spreading import spread
from shared.errors import CallerOverloadedError, OverloadedError

ROUND_SECONDS: Final = 0.0003
"""How long slices may begin in one round; the last one may run past it. A lone event takes a third of this. A round is
felt at each await of another's call: beside batches whose answers nobody reads a call takes 9 ms in the middle, and 11
with rounds of 1 ms, while as many batches are answered. In still shorter rounds lone events would wait although they
delay no one."""

LONE_ROUND_SECONDS: Final = 0.01
"""The same while a caller is alone, when a short round would serve only its own other calls and health probes. With 1
ms the events of many concurrent lone calls cost a tenth more, which was spent on turns."""

SLICES_OF_A_ROUND: Final = 8
"""The most waiting slices that are let go in one pass, if there is time for them. A pass for each small slice would
cost a tenth of the slice."""

QUIET_SECONDS: Final = 0.00003
"""A pass that took less had nothing to do: an empty one takes 2 us, the shortest step of a call 50 us."""

PATIENCE_SECONDS: Final = 5.0
"""The longest wait of a call for its first turn: as long as for a commit, which callers' deadlines allow for. The
shortest is half of it. Spread between the two, calls that came together are not refused, and retried, all at once."""

OWN_LOAD: Final = "too many calls of this caller are waiting; nothing was written"
WHOLE_LOAD: Final = "too many calls are waiting; nothing was written"

_Waiter = tuple[int, int, bool, asyncio.Future[bool]]
"""The call's number, by which the oldest call is first; a number of its own, as a tie-breaker; whether this is the
call's first turn; and a future that is done when it may go: True if in any case, False if only while the round has
time."""


class FairTurns:
    """The turns of one process. Not thread-safe: for the event loop's thread. Also a `Gate`: see `hold`."""

    def __init__(self, *, patience_seconds: float = PATIENCE_SECONDS, now: Callable[[], float] = perf_counter) -> None:
        self._patience_seconds = patience_seconds
        self._now = now
        self._waiting: dict[str, list[_Waiter]] = {}
        """A heap for each caller with waiting calls; none is empty."""
        self._callers: deque[str] = deque()
        """The callers in `_waiting` whose oldest call may go, in rotation, the next one first."""
        self._held: set[str] = set()
        """Callers of which no call is begun."""
        self._late: list[str] = []
        """Callers that were let go when the round had no time left, in their order. They come first in the next."""
        self._recent = RecentCallers()
        self._numbers = count()
        self._round_began: float | None = None
        """None until the first slice of a round begins."""
        self._pass_began = 0.0
        self._others_until = 0.0
        """Until then everything else on the loop goes first."""
        self._is_ending = False
        """Whether `_end_pass` is scheduled."""

    async def turn(self, caller: str) -> None:
        """Wait until a slice of work for this caller may begin; return at once if the round has time for it.

        To be awaited before each slice, in the call's own task. A call that has had its first turn is not refused.

        Raises:
            CallerOverloadedError: its first turn did not come in time, and other calls of this caller waited already.
            OverloadedError: its first turn did not come in time.
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
        """Begin no further call of this caller. Calls that have begun go on."""
        self._held.add(caller)
        self._place(caller)

    def release(self, caller: str) -> None:
        """Begin the caller's calls again."""
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
        """Call `_end_pass` in the next pass, behind everything that is ready by now."""
        if not self._is_ending:
            self._is_ending = True
            asyncio.get_running_loop().call_soon(self._end_pass)

    def _end_pass(self) -> None:
        now = self._now()
        if self._round_began is None:
            may_go = now - self._pass_began < QUIET_SECONDS or now >= self._others_until
        else:
            self._others_until = now + (now - self._round_began)
            self._round_began = None
            may_go = False
        self._pass_began = now
        has_let_go = may_go and self._let_go()
        # Only now: scheduled by `_place` while slices are let go, the next end would come before these slices begin,
        # and let others go too. Two calls of a caller took turns so, and eight were begun in the time of one.
        self._is_ending = False
        if has_let_go or self._callers:
            self._end_pass_later()

    def _let_go(self) -> bool:
        """Let waiting slices go, those that were late first. Whether there were any."""
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
        """The oldest waiting call of the caller whose turn it is; cancelled and refused ones are skipped."""
        while self._callers:
            caller = self._callers.popleft()
            waiter = heappop(self._waiting[caller])[-1]
            self._place(caller)
            if not waiter.done():
                return waiter
        return None

    def _place(self, caller: str) -> None:
        """Have the caller in the rotation, at the end if it is new there, just while it has a call that may go."""
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
        gives_up_at = loop.time() + spread(self._patience_seconds, number)
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
"""The number of the current call, in the order in which calls asked for their first turn."""

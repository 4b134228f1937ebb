"""The sender's state of one batch, and its two ways to the ledger: noting attempts, and settling confirmations."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio

from shared.events.statsig_projection import StatsigEvent
from worker.attempts import BatchAttempts


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One batch on its way to Statsig. For one call of `Sending.send`."""

    attempts: BatchAttempts

    deadline: float
    """Monotonic: the end of the claim, less the time for settling. No attempt begins that could outlast it."""

    note: Callable[[Sequence[str]], Awaitable[set[str]]]
    """Writes the attempts on these events to the ledger; returns the events that may be sent again. An attempt that may
    have left a copy is written before the next one, so that a crash leaves only the latest attempt unwritten."""

    settle_confirmed: Callable[[Sequence[str]], Awaitable[None]]
    """Settles these events as delivered."""

    is_trial: bool = False
    """One suspect alone, in one attempt. Unless it is a probe too, its failure says nothing about the destination."""

    is_probe: bool = False
    """The circuit was open when it began: one event, in one attempt."""

    unsent: list[StatsigEvent] = field(default_factory=list)
    """Not in any request so far."""

    parts: deque[list[StatsigEvent]] = field(default_factory=deque)
    """The next requests: the parts of requests that failed."""

    alone: list[StatsigEvent] = field(default_factory=list)
    """Failed alone, while it is unknown whether others are confirmed."""

    failures: int = 0
    """Requests in a row that failed, with nothing confirmed since they began, or with an answer
    that says nothing of the events (a 429, no connection); without rejections."""

    limited: set[str] = field(default_factory=set)
    """Events in requests that were answered 429."""

    paused_until: float = float("-inf")
    """Monotonic: the end of the pause after a 429."""

    _unsettled: list[str] = field(default_factory=list)
    _settling: anyio.Lock = field(default_factory=anyio.Lock)

    async def settle(self, event_ids: Sequence[str]) -> None:
        """Settle the events of a confirmed request; returns when that is done or has failed.

        Events that are confirmed during a settlement are settled together after it. The requests of a search are
        answered at about the same time, and one commit each would cost more than the requests do.
        """
        self._unsettled += event_ids
        async with self._settling:
            if self._unsettled:
                together, self._unsettled = self._unsettled, []
                await self.settle_confirmed(together)

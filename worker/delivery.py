"""One batch on its way to Statsig: what its sender keeps of it, asks and tells."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio

from shared.events.statsig_projection import StatsigEvent
from worker.accounts import BatchAttempts


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One batch on its way to Statsig, and what its sender must be asked and told meanwhile."""

    accounts: BatchAttempts

    deadline: float
    """Monotonic: the end of the claim, less what settling takes. No attempt begins that could outlast it."""

    note: Callable[[Sequence[str]], Awaitable[set[str]]]
    """Write down durably what was sent of these events so far; returns those that may be sent again. An event whose
    last attempt may have left a copy is sent again only after it: a worker that dies counts only its last attempt."""

    confirmed: Callable[[Sequence[str]], Awaitable[None]]
    """Told of what is confirmed, before what is sent after it."""

    is_trial: bool = False
    """One suspect alone: one attempt. Where it is no probe, its failure says nothing of the destination."""

    is_probe: bool = False
    """The circuit was open when it began: one attempt."""

    unsent: list[StatsigEvent] = field(default_factory=list)
    """What no request has carried yet."""

    parts: deque[list[StatsigEvent]] = field(default_factory=deque)
    """Of requests that failed: the requests to be made next."""

    alone: list[StatsigEvent] = field(default_factory=list)
    """What failed alone, while it is not known whether others are confirmed."""

    failures: int = 0
    """Requests that failed in a row, with nothing confirmed since they began. Rejections are not among them."""

    _unsettled: list[str] = field(default_factory=list)
    _settling: anyio.Lock = field(default_factory=anyio.Lock)

    async def settle(self, event_ids: Sequence[str]) -> None:
        """Settle what a request had confirmed; returns once it is, or cannot be.

        What is confirmed while another settlement is on its way is settled together after it: the requests of a search
        are answered about the same time, and a commit each would cost more than they do.
        """
        self._unsettled += event_ids
        async with self._settling:
            if self._unsettled:
                together, self._unsettled = self._unsettled, []
                await self.confirmed(together)

"""The port through which events reach Statsig, and its adapter over lanes of the official SDK (statsig 0.72.1)."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

import anyio

from shared.events.statsig_projection import StatsigEvent
from worker.statsig.client import StatsigClient
from worker.statsig.outcome import NO_OUTCOME, TIMED_OUT, SendOutcome

_T = TypeVar("_T")

CLOSE_SECONDS: Final = 1.0
"""An idle lane closes in 4 ms; one that takes longer must not eat up the 7 s of the worker's shutdown."""


class StatsigForwarder(Protocol):
    async def send(self, events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        """Make one attempt, which is one POST, and say of each event, by event_id, what became of it.

        Never retries, never raises for what Statsig or the network does, and ends in bounded time: what has no answer
        by then is AMBIGUOUS. May be called concurrently; calls beyond what the forwarder can do at once wait. A call
        that is cancelled may have been sent.
        """
        ...


class SdkStatsigForwarder:
    """As many requests in flight as there are lanes; an async context manager."""

    def __init__(self, new_lane: Callable[[], StatsigClient], *, lanes: int, send_timeout_seconds: float) -> None:
        self._new_lane = new_lane
        self._send_timeout_seconds = send_timeout_seconds
        self._vacancies = anyio.Semaphore(lanes)
        self._idle: list[StatsigClient] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        # One at once, which tells a wrong key at start; the others when they are needed: a lane starts in 5 ms.
        self._idle.append(self._new_lane())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        closing = [_start(lane.close) for lane in self._idle]
        self._idle.clear()
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            for close in closing:
                await asyncio.wrap_future(close)

    async def send(self, events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        if not events:
            return {}
        async with self._vacancies:
            lane = self._idle.pop() if self._idle else self._new_lane()
            attempt = _start(lambda: lane.send(events))
            outcomes: dict[str, SendOutcome] | None = None
            try:
                with anyio.move_on_after(self._send_timeout_seconds):
                    outcomes = await asyncio.wrap_future(attempt)
            finally:
                self._give_back(lane, attempt, outcomes)
        return dict.fromkeys((event.event_id for event in events), TIMED_OUT) if outcomes is None else outcomes

    def _give_back(
        self, lane: StatsigClient, attempt: Future[dict[str, SendOutcome]], outcomes: dict[str, SendOutcome] | None
    ) -> None:
        """Keep the lane only where nothing of the attempt can still happen in it; another one takes its place."""
        if not self._closed and outcomes is not None and NO_OUTCOME not in outcomes.values():
            self._idle.append(lane)
        else:
            attempt.add_done_callback(lambda _: _start(lane.close))  # at once, where the attempt has ended


def _start(call: Callable[[], _T]) -> Future[_T]:
    """Run a blocking call on a daemon thread of its own.

    Not `anyio.to_thread`, nor an executor: their threads are joined when the interpreter ends, and an answer that drips
    would hold a process that was told to stop until it is killed. Nobody can cancel what has started.
    """
    future: Future[_T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
            future.set_exception(error)

    Thread(target=run, name="statsig-send", daemon=True).start()
    return future

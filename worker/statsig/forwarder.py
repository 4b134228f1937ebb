"""The port through which events reach Statsig, and its adapter over the official SDK (statsig 0.72.1)."""

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

CLOSE_TIMEOUT_SECONDS: Final = 1.0
"""An idle client closes in 4 ms; one that takes longer must not use up the 7 s of the worker's shutdown."""


class StatsigForwarder(Protocol):
    async def send(self, events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        """Make one attempt, which is one POST, and return the outcome of each event, by event_id.

        Never retries, and never raises for Statsig or the network. An attempt is bounded in time: an event without an
        answer by then is AMBIGUOUS. Concurrent calls beyond the forwarder's capacity wait first, for as long as it
        takes. The events of a cancelled call may have been sent.
        """
        ...


class SdkStatsigForwarder:
    """A pool of clients, each with one request in flight; an async context manager, for the event loop's thread.

    The clients' blocking calls run on threads of their own.
    """

    def __init__(
        self, new_client: Callable[[], StatsigClient], *, max_clients: int, send_timeout_seconds: float
    ) -> None:
        self._new_client = new_client
        self._send_timeout_seconds = send_timeout_seconds
        self._free = anyio.Semaphore(max_clients)
        self._idle: list[StatsigClient] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        # The first now, so that a wrong key fails the start; others when they are needed: a client starts in 5 ms.
        self._idle.append(self._new_client())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        closing = [_start(client.close) for client in self._idle]
        self._idle.clear()
        with anyio.move_on_after(CLOSE_TIMEOUT_SECONDS, shield=True):
            for close in closing:
                await asyncio.wrap_future(close)

    async def send(self, events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        if not events:
            return {}
        async with self._free:
            client = self._idle.pop() if self._idle else self._new_client()
            attempt = _start(lambda: client.send(events))
            outcomes: dict[str, SendOutcome] | None = None
            try:
                with anyio.move_on_after(self._send_timeout_seconds):
                    outcomes = await asyncio.wrap_future(attempt)
            finally:
                self._reuse_or_close(client, attempt, outcomes)
        return dict.fromkeys((event.event_id for event in events), TIMED_OUT) if outcomes is None else outcomes

    def _reuse_or_close(
        self, client: StatsigClient, attempt: Future[dict[str, SendOutcome]], outcomes: dict[str, SendOutcome] | None
    ) -> None:
        """Reuse the client only if its attempt is over for certain; otherwise a new one takes its place."""
        if not self._closed and outcomes is not None and NO_OUTCOME not in outcomes.values():
            self._idle.append(client)
        else:
            attempt.add_done_callback(lambda _: _start(client.close))  # at once, if the attempt has ended


def _start(call: Callable[[], _T]) -> Future[_T]:
    """Run a blocking call on a daemon thread of its own.

    Not `anyio.to_thread` or an executor: the interpreter joins their threads when it ends, and an answer that drips in
    would keep a stopping process until it is killed. A call that has started cannot be cancelled.
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

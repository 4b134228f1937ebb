"""Answers that several pages and tabs ask for every few seconds: asked once at a time, and kept for a while."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

T = TypeVar("T")

REST: Final = 9
"""An answer that took long is kept for so many times as long: a question takes a tenth of Spanner's time at most."""


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """An answer."""

    value: T
    took_seconds: float


class Keeper(Generic[T]):
    """Asks when somebody wants to know, and never when nobody looks."""

    def __init__(self, tasks: TaskGroup, ask: Callable[[], Awaitable[T]], *, seconds: float) -> None:
        """`ask` must not raise: what stays without an answer is a value too. `seconds` is how long one is kept."""
        self._tasks = tasks
        self._ask = ask
        self._seconds = seconds
        self._kept: Kept[T] | None = None
        self._old_at = 0.0
        self._asking: anyio.Event | None = None

    async def latest(self, *, wait_seconds: float) -> Kept[T] | None:
        """The answer. Where it is old it is asked for again, and the old one given if that takes longer than the wait.

        None where there is no answer yet.
        """
        if self._asking is None and (self._kept is None or anyio.current_time() >= self._old_at):
            self._asking = anyio.Event()
            self._tasks.start_soon(self._refresh, self._asking)
        if self._asking is not None:
            with anyio.move_on_after(wait_seconds):
                await self._asking.wait()
        return self._kept

    async def _refresh(self, asked: anyio.Event) -> None:
        began = anyio.current_time()
        try:
            value = await self._ask()
            took = anyio.current_time() - began
            self._kept = Kept(value, took)
            self._old_at = anyio.current_time() + max(self._seconds, REST * took)
        finally:
            self._asking = None
            asked.set()

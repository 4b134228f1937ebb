"""A pull as production answers it: partial, empty, late, unordered, with copies, or after its client has gone."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.pubsub_v1 import PullRequest, PullResponse, ReceivedMessage

from tests.support.emulators.pubsub_manners.ack_ids import AckIds
from tests.support.emulators.pubsub_manners.chance import Chance
from tests.support.emulators.pubsub_manners.held_back import LEASE_SECONDS, HeldBack
from tests.support.emulators.pubsub_manners.manners import Counts, Manners
from tests.support.emulators.pubsub_manners.upstream import Upstream

FIRST_PAUSE_SECONDS: Final = 0.01
LONGEST_PAUSE_SECONDS: Final = 0.1
"""The longest pause between two looks at an empty subscription. Shorter ones take more of the emulator's time."""


@dataclass(frozen=True, slots=True)
class _Found:
    messages: list[Any]
    may_be_more: bool
    """Whether the emulator returned as many as it was asked for."""


@dataclass(slots=True)
class _Wait:
    """How long a pull looks for a first message."""

    until: float

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until


class Pulling:
    def __init__(self, upstream: Upstream, manners: Manners, chance: Chance, counts: Counts) -> None:
        self._upstream = upstream
        self._manners = manners
        self._chance = chance
        self._counts = counts
        self._ack_ids = AckIds(manners.ack_id_chars)
        self._held_back: dict[str, HeldBack] = defaultdict(HeldBack)
        self._going_on: set[asyncio.Task[_Found]] = set()

    async def pull(self, request: bytes, seconds_left: Callable[[], float]) -> bytes:
        """The answer, within the client's deadline where that is possible.

        Raises:
            grpc.aio.AioRpcError: the emulator's.
        """
        wanted = PullRequest.pb().FromString(request)
        if self._chance.hits(self._manners.empty_share):
            self._counts.empty_pulls += 1
            await asyncio.sleep(min(self._chance.seconds(self._manners.empty_seconds), seconds_left()))
            return b""
        travel = self._chance.seconds(self._manners.call_seconds)
        if not self._manners.abandoned_keep_leases:
            await asyncio.sleep(travel)
        most = wanted.max_messages
        if most > 1 and self._chance.hits(self._manners.partial_share):
            most = self._chance.part_of(most)
        found = await self._unless_abandoned(wanted, most, seconds_left())
        if self._manners.abandoned_keep_leases:
            try:
                await asyncio.sleep(travel)
            except asyncio.CancelledError:
                self._counts.left_leased += len(found.messages)
                raise
        if len(found.messages) < wanted.max_messages and found.may_be_more:
            self._counts.partial_pulls += 1
        answer: bytes = PullResponse.pb()(received_messages=found.messages).SerializeToString()
        return answer

    async def close(self) -> None:
        """Ends the leases of the messages that are held back."""
        for task in self._going_on:
            task.cancel()
        await asyncio.gather(*self._going_on, return_exceptions=True)
        for subscription, held_back in self._held_back.items():
            late = [each.ack_id for each in held_back.late()]
            with contextlib.suppress(grpc.aio.AioRpcError):  # deleted, or the emulator is gone
                await self._upstream.lease(subscription, late, 0) if late else None

    async def _unless_abandoned(self, wanted: Any, most: int, seconds_left: float) -> _Found:
        """The messages that a pull finds. Without its client it goes on for a while, and leaves them leased."""
        wait = _Wait(time.monotonic() + min(seconds_left, self._manners.longest_pull_seconds))
        looking = asyncio.ensure_future(self._look(wanted, most, wait))
        self._going_on.add(looking)
        looking.add_done_callback(self._going_on.discard)
        try:
            return await asyncio.shield(looking)
        except asyncio.CancelledError:
            wait.until = time.monotonic() + self._chance.seconds(self._manners.abandoned_seconds)
            looking.add_done_callback(self._count_left)
            raise

    def _count_left(self, looked: asyncio.Task[_Found]) -> None:
        if not looked.cancelled() and looked.exception() is None:
            self._counts.left_leased += len(looked.result().messages)

    async def _look(self, wanted: Any, most: int, wait: _Wait) -> _Found:
        pause = FIRST_PAUSE_SECONDS
        while True:
            found = await self._ready(wanted.subscription, most)
            if found.messages or wanted.return_immediately or wait.is_over:
                return found
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)

    async def _ready(self, subscription: str, most: int) -> _Found:
        """The messages that can be delivered now, under ack ids of the double."""
        settings = await self._upstream.settings(subscription)
        held_back = self._held_back[subscription]
        late, copies = held_back.ripe(most)
        if late:
            await self._upstream.lease(subscription, [each.ack_id for each in late], settings.ack_deadline_seconds)
        self._counts.copies += len(copies)
        room = most - len(late) - len(copies)
        fresh = await self._upstream.pull_now(subscription, room) if room else []
        may_be_more = len(fresh) == room
        fresh = await self._hold_back_some(subscription, fresh)
        for message in (*late, *fresh):
            if self._chance.hits(self._manners.copies_share):
                held_back.add(message, self._chance.seconds(self._manners.late_seconds), is_copy=True)
        found = [*late, *copies, *fresh]
        if self._manners.shuffles and len(found) > 1:
            found = self._chance.shuffled(found)
            self._counts.shuffled += 1
        return _Found([self._dressed(each, dead_letters=settings.dead_letters) for each in found], may_be_more)

    async def _hold_back_some(self, subscription: str, fresh: list[Any]) -> list[Any]:
        """Holds some messages back, and returns those to deliver now."""
        late = [each for each in fresh if self._chance.hits(self._manners.late_share)]
        if not late:
            return fresh
        await self._upstream.lease(subscription, [each.ack_id for each in late], LEASE_SECONDS)
        for each in late:
            self._held_back[subscription].add(each, self._chance.seconds(self._manners.late_seconds), is_copy=False)
        self._counts.late += len(late)
        ids = {each.ack_id for each in late}
        return [each for each in fresh if each.ack_id not in ids]

    def _dressed(self, message: Any, *, dead_letters: bool) -> Any:
        """The message as the client sees it: a copy, since the emulator's may be delivered again."""
        seen = ReceivedMessage.pb()()
        seen.CopyFrom(message)
        seen.ack_id = self._ack_ids.fresh(message.ack_id)
        if not dead_letters and self._manners.counts_only_with_dead_lettering:
            seen.delivery_attempt = 0
        elif dead_letters and self._chance.hits(self._manners.wrong_attempts_share):
            seen.delivery_attempt = max(1, message.delivery_attempt + self._chance.off_by())
            self._counts.wrong_attempts += seen.delivery_attempt != message.delivery_attempt
        return seen

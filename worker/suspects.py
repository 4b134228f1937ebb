"""Suspects: events that failed alone, or of a name that keeps failing, are sent alone, at a low rate beside the lanes.

A trial, which is one such attempt, needs no lane. However many suspects there are, trials that fail are a small share
of the requests.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import anyio

from shared.backoff import exponential_backoff
from shared.clock import Clock
from shared.events import forward_message
from shared.process.logs import get_logger
from worker.circuit import Admission, Circuit
from worker.disposition import DONE, Disposition, ForwardBatch
from worker.leases import Leases
from worker.subscription import ReceivedMessage
from worker.unconfirmed import MAX_BACKOFF_FACTOR
from worker.untried import Untried

MAX_SUSPECTS: Final = 2_000
"""Messages that may wait for a trial. Those beyond are nacked, and redelivered after the subscription's backoff."""

MAX_SUSPECT_BYTES: Final = 64 * 1024 * 1024
"""The same bound in bytes of message data."""

TRIALS_AT_ONCE: Final = 4
"""More than one: a trial may hang until it times out, and should not delay the others."""

TRIAL_TIME_SHARE: Final = 0.2
"""Share of time spent on trials that fail: such a one is followed by a pause four times as long as it took, less the
time that other trials took since then. With every seventh of 1,100 suspects a bad one, all good ones were delivered
within a minute, and in four without that deduction."""

LONGEST_PAUSE_SECONDS: Final = 1.0
"""Cap on that pause, and on what is deducted. A trial that takes longer spends the time waiting, which costs
nothing."""

UNPACED: Final = frozenset({Disposition.ACK, Disposition.SET_ASIDE_WAITING})
"""The dispositions of trials that took nothing from others: Statsig has the event, or nothing was sent."""

CHECK_INTERVAL_SECONDS: Final = 0.05
"""How often to look for a suspect that is due, and how long to wait for admission each time."""

_log = get_logger()


class Suspects:
    """The suspects of one process, in memory and leased; for the event loop's thread."""

    def __init__(
        self,
        *,
        try_alone: ForwardBatch,
        leases: Leases,
        circuit: Circuit,
        clock: Clock,
        stopping: anyio.Event,
        backoff_seconds: float,
        is_notorious: Callable[[str], bool],
    ) -> None:
        self._try_alone = try_alone
        self._leases = leases
        self._circuit = circuit
        self._clock = clock
        self._stopping = stopping
        self._backoff_seconds = backoff_seconds
        self._waiting: list[tuple[float, int, int, ReceivedMessage]] = []
        self._bytes = 0
        self._untried = Untried(is_notorious)
        self._events: dict[str, str] = {}
        """The ids of the events that wait or are tried, and of the message that is kept of each."""
        self._numbers = itertools.count()
        self._next_trial_at = float("-inf")
        self._harmless_seconds = 0.0
        """The time of unpaced trials that no pause was shortened by yet."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._untried)

    async def add(self, messages: Iterable[ReceivedMessage]) -> None:
        """Keep leased messages for a trial each; nack those for which there is no room.

        Of an event whose message is kept already a further one is acked: the reconciler publishes again what is pending
        for long, and each copy would take room, and a trial that sends nothing. A redelivery of the kept message is
        nacked: acked, the message would not come again if this process died.
        """
        await self._add(messages, partial(self._wait, trials=0))

    async def add_untried(self, messages: Iterable[ReceivedMessage]) -> None:
        """As `add`, of messages that go back to the lanes once their event names are trusted again."""
        now = self._clock.monotonic()
        await self._add(messages, lambda message: self._untried.add(message, now))

    def take_restored(self, max_messages: int) -> list[ReceivedMessage]:
        """Take untried messages whose event names are trusted again, for a batch."""
        taken = self._untried.take_restored(max_messages)
        for message in taken:
            self._events.pop(event_id_of(message), None)
        return taken

    async def _add(self, messages: Iterable[ReceivedMessage], keep: Callable[[ReceivedMessage], None]) -> None:
        too_many: list[ReceivedMessage] = []
        copies: list[ReceivedMessage] = []
        for message in messages:
            event_id = event_id_of(message)
            if event_id in self._events:
                (too_many if self._events[event_id] == message.message_id else copies).append(message)
            elif len(self) < MAX_SUSPECTS and self._bytes + self._untried.bytes < MAX_SUSPECT_BYTES:
                self._events[event_id] = message.message_id
                keep(message)
            else:
                too_many.append(message)
        await self._leases.acknowledge(copies)
        await self._leases.nack(too_many)

    def _wait(self, message: ReceivedMessage, *, trials: int, at_least_seconds: float = 0.0) -> None:
        # The first trial comes at once: the ledger refuses it if the suspect's wait has not ended.
        self._bytes += len(message.data)
        first = self._backoff_seconds
        delay = exponential_backoff(first, first * MAX_BACKOFF_FACTOR, trials) if trials else 0.0
        due_at = self._clock.monotonic() + max(delay, at_least_seconds)
        heapq.heappush(self._waiting, (due_at, next(self._numbers), trials, message))

    async def run(self) -> None:
        """Try the suspects that are due, until `stopping` is set and the trials in work are done."""
        async with anyio.create_task_group() as trials:
            for _ in range(TRIALS_AT_ONCE):
                trials.start_soon(self._try_until_stopped)

    async def _try_until_stopped(self) -> None:
        while not self._stopping.is_set():
            if not self._is_due():
                with anyio.move_on_after(CHECK_INTERVAL_SECONDS):
                    await self._stopping.wait()
                continue
            admission = await self._admitted()
            if admission is None:
                continue
            try:
                if self._is_due():  # still: another task may have tried it meanwhile
                    await self._try_one(is_probe=admission.is_probe)
            finally:
                self._circuit.leave(admission)

    def _is_due(self) -> bool:
        now = self._clock.monotonic()
        return self._next_trial_at <= now and min(self._first_due_at, self._untried.since) <= now

    @property
    def _first_due_at(self) -> float:
        return self._waiting[0][0] if self._waiting else float("inf")

    def _take_next(self, *, is_probe: bool) -> tuple[int | None, ReceivedMessage]:
        """The message that is due longest, as a probe the one tried least, and its trials; None if it is untried."""
        if self._untried.since < self._first_due_at:
            return None, self._untried.take_for_trial()
        _, _, trials, message = self._pop_least_tried() if is_probe else heapq.heappop(self._waiting)
        self._bytes -= len(message.data)
        return trials, message

    def _pop_least_tried(self) -> tuple[float, int, int, ReceivedMessage]:
        """Of those that are due, the one with the fewest trials: the likeliest to be confirmed.

        When traffic ends, the bad events that are left open the circuit, and a few that chance has spoiled wait among
        them. With a probe every few seconds, each suspect in its turn, such a one waited for 90 s.
        """
        now = self._clock.monotonic()
        due = (entry for entry in self._waiting if entry[0] <= now)
        least = min(due, key=lambda entry: (entry[2], *entry[:2]))
        self._waiting.remove(least)
        heapq.heapify(self._waiting)
        return least

    async def _admitted(self) -> Admission | None:
        with anyio.move_on_after(CHECK_INTERVAL_SECONDS):
            return await self._circuit.admit()
        return None

    async def _try_one(self, *, is_probe: bool) -> None:
        trials, message = self._take_next(is_probe=is_probe)
        began = self._clock.monotonic()
        try:
            disposition = (await self._try_alone([message]))[message.ack_id]
        except Exception:  # noqa: BLE001 - a bug must not end the process, and with it the work of all lanes
            _log.exception("trial_crashed", message_id=message.message_id)
            disposition = Disposition.NACK
        except BaseException:
            self._put_back(message, trials)
            raise
        self._pace(disposition, self._clock.monotonic() - began)
        if disposition in DONE:
            self._events.pop(event_id_of(message), None)
            await self._leases.acknowledge([message])
        elif disposition is Disposition.NACK:
            self._events.pop(event_id_of(message), None)
            await self._leases.nack([message])
        elif disposition in (Disposition.SET_ASIDE, Disposition.SET_ASIDE_WAITING):
            self._wait(message, trials=(trials or 0) + 1)
        else:  # held: not settled, and not because of this event
            self._put_back(message, trials, after_seconds=LONGEST_PAUSE_SECONDS)

    def _pace(self, disposition: Disposition, took_seconds: float) -> None:
        if disposition in UNPACED:
            self._harmless_seconds = min(LONGEST_PAUSE_SECONDS, self._harmless_seconds + took_seconds)
            return
        owed = min(LONGEST_PAUSE_SECONDS, took_seconds * (1 - TRIAL_TIME_SHARE) / TRIAL_TIME_SHARE)
        pause = max(0.0, owed - self._harmless_seconds)
        self._harmless_seconds = max(0.0, self._harmless_seconds - owed)
        self._next_trial_at = max(self._next_trial_at, self._clock.monotonic() + pause)

    def _put_back(self, message: ReceivedMessage, trials: int | None, *, after_seconds: float = 0.0) -> None:
        if trials is None:
            self._untried.add(message, self._clock.monotonic() + after_seconds)
        else:
            self._wait(message, trials=trials, at_least_seconds=after_seconds)


def event_id_of(message: ReceivedMessage) -> str:
    """The id by which the event was claimed: the body's, since an attribute may say anything."""
    return forward_message.decode(message.data).event_id

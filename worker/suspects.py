"""Suspects: events that failed alone are tried again alone, in a trickle beside the lanes.

They hold no lane, and take a small share of the requests, however many they are.
"""

import heapq
import itertools
from collections.abc import Iterable
from typing import Final

import anyio

from shared.clock import Clock
from shared.process.logs import get_logger
from worker.circuit import Admission, Circuit
from worker.forwarding import Disposition, ForwardBatch
from worker.leases import Leases
from worker.subscription import ReceivedMessage

MAX_SUSPECTS: Final = 2_000
MAX_SUSPECT_BYTES: Final = 64 * 1024 * 1024
"""Of the messages that wait here. What is more goes back, and comes again after the subscription's backoff."""

TRIALS_AT_ONCE: Final = 4
"""A trial may hang until its time is over, and should not keep the others from theirs."""

SHARE: Final = 0.2
"""Of a trial's time in the time until the next one begins: it is followed by a pause four times as long."""

LONGEST_PAUSE_SECONDS: Final = 1.0
"""Of that pause. A trial that takes longer does so by waiting, which costs nobody anything."""

CHECK_SECONDS: Final = 0.05
"""Between two looks at whether there is something to try; nobody waits for a trial."""

_log = get_logger()


class Suspects:
    """Those of one process. `add` and the trials are for the event loop's thread."""

    def __init__(
        self,
        *,
        try_alone: ForwardBatch,
        leases: Leases,
        circuit: Circuit,
        clock: Clock,
        stopping: anyio.Event,
        backoff_seconds: float,
    ) -> None:
        self._try_alone = try_alone
        self._leases = leases
        self._circuit = circuit
        self._clock = clock
        self._stopping = stopping
        self._backoff_seconds = backoff_seconds
        self._waiting: list[tuple[float, int, int, ReceivedMessage]] = []
        self._bytes = 0
        self._numbers = itertools.count()
        self._next_trial_at = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    async def add(self, messages: Iterable[ReceivedMessage]) -> None:
        """Keep leased messages for a trial each; those for which there is no room are given back."""
        too_many: list[ReceivedMessage] = []
        for message in messages:
            if len(self._waiting) < MAX_SUSPECTS and self._bytes < MAX_SUSPECT_BYTES:
                self._wait(message, trials=0)
            else:
                too_many.append(message)
        await self._leases.nack(too_many)

    def _wait(self, message: ReceivedMessage, *, trials: int) -> None:
        # The ledger knows for how long; asked too early, it says so. The first time it may know nothing of it yet.
        self._bytes += len(message.data)
        delay = self._backoff_seconds * 2.0 ** min(trials - 1, 6) if trials else 0.0
        heapq.heappush(self._waiting, (self._clock.monotonic() + delay, next(self._numbers), trials, message))

    async def run(self) -> None:
        """Try those whose time has come, until `stopping` is set and the trials in work are done."""
        async with anyio.create_task_group() as trials:
            for _ in range(TRIALS_AT_ONCE):
                trials.start_soon(self._try_in_turn)

    async def _try_in_turn(self) -> None:
        while not self._stopping.is_set():
            if not self._is_time():
                with anyio.move_on_after(CHECK_SECONDS):
                    await self._stopping.wait()
                continue
            admission = await self._admitted()
            if admission is None:
                continue
            try:
                if self._is_time():  # still: admission may have taken long, and another one tried it
                    await self._try_one()
            finally:
                self._circuit.leave(admission)

    def _is_time(self) -> bool:
        now = self._clock.monotonic()
        return bool(self._waiting) and self._waiting[0][0] <= now and self._next_trial_at <= now

    async def _admitted(self) -> Admission | None:
        with anyio.move_on_after(CHECK_SECONDS):
            return await self._circuit.admit()
        return None

    async def _try_one(self) -> None:
        _, _, trials, message = heapq.heappop(self._waiting)
        self._bytes -= len(message.data)
        began = self._clock.monotonic()
        try:
            disposition = (await self._try_alone([message]))[message.ack_id]
        except Exception:  # noqa: BLE001 - a bug of ours must not end the process, which would end everybody's work
            _log.exception("trial_crashed", message_id=message.message_id)
            disposition = Disposition.NACK
        except BaseException:
            self._wait(message, trials=trials)  # its lease is given back with the others
            raise
        took = self._clock.monotonic() - began
        pause = min(LONGEST_PAUSE_SECONDS, took * (1 - SHARE) / SHARE)
        self._next_trial_at = max(self._next_trial_at, self._clock.monotonic() + pause)
        if disposition is Disposition.ACK:
            await self._leases.acknowledge([message])
        elif disposition is Disposition.NACK:
            await self._leases.nack([message])
        else:
            self._wait(message, trials=trials + 1)

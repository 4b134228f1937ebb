"""The pull loop: brings messages to the use case and does with each what it says. Knows nothing of what they say."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio

from shared.process.logs import get_logger
from worker.circuit import Admission, Circuit
from worker.forwarding import Disposition, ForwardBatch
from worker.held_messages import HeldMessages
from worker.lane_turns import LaneTurn, LaneTurns
from worker.leases import Leases
from worker.prefetch import Prefetcher
from worker.stoppable_waits import Pauses, StoppableWaits
from worker.subscription import ReceivedMessage
from worker.suspects import Suspects

PROBE_PULL_SECONDS: Final = 1.0
"""For the fresh messages of a probe. One that finds nothing to send must not keep another lane from probing."""

_log = get_logger()


class PullLoop:
    """One lane: takes a batch, has it forwarded, acknowledges, and again."""

    def __init__(
        self,
        *,
        pulling: Prefetcher,
        leases: Leases,
        parked: HeldMessages,
        suspects: Suspects,
        turns: LaneTurns,
        circuit: Circuit,
        forward: ForwardBatch,
        batch_messages: int,
        stopping: anyio.Event,
    ) -> None:
        self._pulling = pulling
        self._leases = leases
        self._parked = parked
        self._suspects = suspects
        self._turns = turns
        self._circuit = circuit
        self._forward = forward
        self._batch_messages = batch_messages
        self._stopping = stopping
        self._waits = StoppableWaits(stopping)
        self._pauses = Pauses(stopping)

    async def run(self) -> None:
        """Run until `stopping` is set and the batch in work is done, or until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._waits.watch)
            while not self._stopping.is_set():
                # Waiting for a turn, for admission or for messages ends with the process at once; a batch in work is
                # let finish.
                turn = await self._waits.unless_stopping(self._turns.take)
                if turn is not None:
                    try:
                        await self._step(turn)
                    finally:
                        turn.give_up()

    async def _step(self, turn: LaneTurn) -> None:
        admission = await self._waits.unless_stopping(self._circuit.admit)
        if admission is None:
            return
        try:
            messages = await self._waits.unless_stopping(partial(self._next_batch, admission))
            if messages:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(turn.lend_when_slow)
                    await self._work(messages)
                    tasks.cancel_scope.cancel()
        finally:
            self._circuit.leave(admission)

    async def _next_batch(self, admission: Admission) -> Sequence[ReceivedMessage]:
        if not admission.is_probe:
            messages = self._parked.take(self._batch_messages) or await self._pulling.take(self._batch_messages)
            if self._circuit.open_reason is None:
                return messages
            self._parked.park(messages)  # it opened meanwhile
            return []
        # A probe is one event, fresh ones too: what is parked may be all bad.
        self._parked.park(self._pulling.take_now())
        if not self._parked.room:
            await self._leases.nack(self._parked.take_to_rotate())
        if room := min(self._batch_messages, self._parked.room):
            self._parked.park(await self._pulling.pull(room, self._pauses, wait_seconds=PROBE_PULL_SECONDS))
            self._parked.park(self._pulling.take_now())  # of a pull that was outstanding when the circuit opened
        probe = self._parked.take_for_probe()
        return [] if probe is None else [probe]

    async def _work(self, messages: Sequence[ReceivedMessage]) -> None:
        try:
            dispositions = await self._forward(messages)
        except Exception:  # noqa: BLE001 - the next lines say why
            # A bug of ours: it must not end the process, which would end every other lane's work and come again with
            # the next process. The pause keeps it from becoming a hot loop.
            _log.exception("batch_crashed", messages=len(messages))
            dispositions = {message.ack_id: Disposition.NACK for message in messages}
            is_setback = True
        except BaseException:
            self._parked.park(messages)  # given back with all that is held
            raise
        else:
            # Where some got on, it is not what all of them need that is away.
            is_setback = set(dispositions.values()) == {Disposition.HOLD} and self._circuit.open_reason is None
        by_fate: dict[Disposition, list[ReceivedMessage]] = {disposition: [] for disposition in Disposition}
        for message in messages:
            by_fate[dispositions[message.ack_id]].append(message)
        await self._leases.acknowledge(by_fate[Disposition.ACK])
        await self._leases.nack(by_fate[Disposition.NACK])
        self._parked.park(by_fate[Disposition.HOLD])
        await self._suspects.add(by_fate[Disposition.SET_ASIDE])
        if is_setback:
            await self._pauses.pause()
        else:
            self._pauses.over()

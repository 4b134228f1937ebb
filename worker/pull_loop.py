"""The pull loop: takes batches of messages, has them forwarded, and acks, nacks or holds each message."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio

from shared.process.logs import get_logger
from worker.backlog_position import BacklogPosition
from worker.circuit import Admission, Circuit
from worker.disposition import Disposition, ForwardBatch
from worker.held_messages import HeldMessages
from worker.lane_turns import LaneTurn, LaneTurns
from worker.leases import Leases
from worker.prefetch import Prefetcher
from worker.stoppable_waits import Pauses, StoppableWaits
from worker.subscription import ReceivedMessage
from worker.suspects import Suspects

PROBE_PULL_TIMEOUT_SECONDS: Final = 1.0
"""How long a probe waits for fresh messages. A probe with nothing to send must not keep another lane from probing."""

RESTORED_PART: Final = 8
"""One in so many messages of a batch may be of an event name that is trusted again."""

_log = get_logger()


class PullLoop:
    """One lane; a process runs several, in the event loop's thread. Never looks inside a message."""

    def __init__(
        self,
        *,
        prefetcher: Prefetcher,
        leases: Leases,
        held: HeldMessages,
        suspects: Suspects,
        position: BacklogPosition,
        turns: LaneTurns,
        circuit: Circuit,
        forward: ForwardBatch,
        batch_messages: int,
        stopping: anyio.Event,
    ) -> None:
        self._prefetcher = prefetcher
        self._leases = leases
        self._held = held
        self._suspects = suspects
        self._position = position
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
                # `stopping` ends a wait for a turn, for admission or for messages at once; a batch in work is finished.
                turn = await self._waits.unless_stopping(self._turns.take)
                if turn is not None:
                    try:
                        await self._step(turn)
                    finally:
                        turn.release()

    async def _step(self, turn: LaneTurn) -> None:
        admission = await self._waits.unless_stopping(self._circuit.admit)
        if admission is None:
            return
        try:
            messages = await self._waits.unless_stopping(partial(self._next_batch, admission))
            if messages:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(turn.release_when_slow)
                    await self._work(messages)
                    tasks.cancel_scope.cancel()
        finally:
            self._circuit.leave(admission)

    async def _next_batch(self, admission: Admission) -> Sequence[ReceivedMessage]:
        if not admission.is_probe:
            messages = self._held.take(self._batch_messages)
            self._position.note(messages)
            messages = messages or await self._fresh(self._batch_messages)
            if self._circuit.admits_batches:
                return messages
            self._held.add(messages)  # it opened or was paused meanwhile
            return []
        # A probe is one event. It may be a fresh one: those held may all be bad.
        self._held.add(self._prefetcher.take_now())
        if not self._held.room:
            await self._leases.nack(self._held.take_to_rotate())
        if room := min(self._batch_messages, self._held.room):
            self._held.add(await self._prefetcher.pull(room, self._pauses, wait_seconds=PROBE_PULL_TIMEOUT_SECONDS))
            self._held.add(self._prefetcher.take_now())  # from pulls that were outstanding when the circuit opened
        probe = self._held.take_for_probe()
        return [] if probe is None else [probe]

    async def _fresh(self, room: int) -> list[ReceivedMessage]:
        """Messages from the prefetcher, and among them some whose event names are trusted again."""
        # A part only: a name may be restored by chance, and a batch of nothing but its events would fail as a whole.
        restored = self._suspects.take_restored(max(1, room // RESTORED_PART))
        room -= len(restored)
        fresh = self._prefetcher.take_now(room) if restored else await self._prefetcher.take(room)
        self._position.note(fresh)
        return restored + fresh

    async def _work(self, messages: Sequence[ReceivedMessage]) -> None:
        by_disposition: dict[Disposition, list[ReceivedMessage]] = {disposition: [] for disposition in Disposition}
        try:
            dispositions = await self._forward(messages)
            for message in messages:
                by_disposition[dispositions[message.ack_id]].append(message)
        except Exception:  # noqa: BLE001 - the next lines say why
            # A bug. It must not end the process: every other lane's work would end too, and the bug would meet the next
            # process again. The pause keeps it from becoming a hot loop.
            _log.exception("batch_crashed", messages=len(messages))
            by_disposition = {each: list(messages) if each is Disposition.NACK else [] for each in Disposition}
            needs_pause = True
        except BaseException:
            self._held.add(messages)
            raise
        else:
            # If every message is held, something that all need is away, such as Spanner. An open circuit waits itself.
            needs_pause = set(dispositions.values()) == {Disposition.HOLD} and self._circuit.open_reason is None
        await self._leases.acknowledge([*by_disposition[Disposition.ACK], *by_disposition[Disposition.ACK_DEAD]])
        await self._leases.nack(by_disposition[Disposition.NACK])
        self._held.add(by_disposition[Disposition.HOLD])
        await self._suspects.add(
            [*by_disposition[Disposition.SET_ASIDE], *by_disposition[Disposition.SET_ASIDE_WAITING]]
        )
        await self._suspects.add_untried(by_disposition[Disposition.SET_ASIDE_UNTRIED])
        if needs_pause:
            await self._pauses.pause()
        else:
            self._pauses.reset()

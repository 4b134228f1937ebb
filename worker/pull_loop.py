"""The pull loop: leases, acknowledgements, hand-backs. Knows messages; what they say is the use case's business."""

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import anyio

from shared.errors import SubscriptionUnavailableError
from shared.fault_points import fault_point
from shared.logs import get_logger
from worker.circuit import Admission, Circuit
from worker.forwarding import Fate
from worker.leases import Leases
from worker.subscription import ReceivedMessage, Subscription

PROBE_PULL_SECONDS: Final = 2.0
"""A probe that finds nothing to send must not keep another lane from probing with what it holds."""

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0
"""Between pulls that fail: full jitter below a bound that doubles from the one to the other."""

HAND_BACK_SECONDS: Final = 1.5
"""For giving back what is held when the process stops."""

CRASHED: Final = "crashed"
"""The circuit's reason after bugs of ours in a row."""

Forward = Callable[[Sequence[ReceivedMessage]], Awaitable[dict[str, Fate]]]

T = TypeVar("T")

_log = get_logger()


class PullLoop:
    """One lane: pulls a batch, has it forwarded, acknowledges, and again. Lanes share nothing but the circuit."""

    def __init__(
        self,
        *,
        subscription: Subscription,
        circuit: Circuit,
        forward: Forward,
        batch_messages: int,
        stopping: anyio.Event,
    ) -> None:
        self._subscription = subscription
        self._circuit = circuit
        self._forward = forward
        self._batch_messages = batch_messages
        self._stopping = stopping
        self._leases = Leases(subscription)
        self._failures = 0

    async def run(self) -> None:
        """Run until `stopping` is set and the batch in work is done, or until cancelled; then give back the rest."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._leases.extend_for_ever)
                while not self._stopping.is_set():
                    await self._step()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(HAND_BACK_SECONDS, shield=True):
                await self._leases.give_back(self._leases.held())

    async def _step(self) -> None:
        # Waiting for admission or for messages ends with the process at once; a batch in work is let finish.
        admission = await self._unless_stopping(self._circuit.admit)
        if admission is None:
            return
        try:
            messages = await self._unless_stopping(partial(self._next_batch, admission))
            if messages:
                await self._work(messages)
        finally:
            self._circuit.leave(admission)

    async def _unless_stopping(self, wait: Callable[[], Awaitable[T]]) -> T | None:
        result: T | None = None

        async def cancel_when_stopping(scope: anyio.CancelScope) -> None:
            await self._stopping.wait()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_when_stopping, tasks.cancel_scope)
            result = await wait()
            tasks.cancel_scope.cancel()
        return result

    async def _next_batch(self, admission: Admission) -> Sequence[ReceivedMessage]:
        if held := self._leases.held():
            # A probe takes any of them: were the first ones all at fault, the same probe would fail for ever.
            return random.sample(held, min(len(held), admission.max_messages or len(held)))
        try:
            if admission.max_messages is None:
                messages = await self._subscription.pull(max_messages=self._batch_messages)
            else:
                messages = await self._subscription.pull(
                    max_messages=admission.max_messages, wait_seconds=PROBE_PULL_SECONDS
                )
        except SubscriptionUnavailableError as error:
            await self._pause(error)
            return ()
        self._failures = 0
        self._leases.hold(messages)
        if messages:
            fault_point("after_pull")
        return messages

    async def _work(self, messages: Sequence[ReceivedMessage]) -> None:
        try:
            fates = await self._forward(messages)
        except Exception:  # noqa: BLE001 - the next lines say why
            # A bug of ours: it must not end the process, which would end every other lane's work and come again with
            # the next process. The circuit keeps it from becoming a hot loop.
            _log.exception("batch_crashed", messages=len(messages))
            self._circuit.failed(CRASHED)
            fates = {message.ack_id: Fate.LATER for message in messages}
        else:
            self._circuit.recovered(CRASHED)
        await self._leases.acknowledge(m for m in messages if fates[m.ack_id] is Fate.DONE)
        await self._leases.give_back(m for m in messages if fates[m.ack_id] is Fate.LATER)

    async def _pause(self, error: SubscriptionUnavailableError) -> None:
        self._failures += 1
        bound = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10))
        _log.warning("pull_failed", error=str(error), failures_in_a_row=self._failures)
        await anyio.sleep(random.uniform(0, bound))  # noqa: S311 - jitter

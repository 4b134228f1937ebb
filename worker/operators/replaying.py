"""The use case: replay dead letters. Per event: make it pending in the ledger, publish it, acknowledge its dead letter.

In that order, so that a process that dies anywhere loses nothing: what was made pending and not published is the
reconciler's, and a dead letter that was not acknowledged is found pending or delivered by the next replay. Two replays
at once meet in the leases and in the ledger's transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio
import stamina

from shared.errors import StorageUnavailableError
from shared.fault_points import fault_point
from shared.forward_ledger import ForwardLedger, Reopened
from shared.forward_message import OutgoingMessage
from shared.pubsub import Publisher
from worker.leases import Leases
from worker.operators.forecast import OF_REOPENING, PUBLISHED, Outcome
from worker.subscription import ReceivedMessage

STEPS_PER_SECOND: Final = 4
PATIENCE_SECONDS: Final = 20.0
"""How long Spanner may be away before a replay ends."""

LARGEST_STEP: Final = 100
"""Events of one transaction and one publish: what a kill leaves half done, and what Ctrl-C waits for."""


@dataclass(frozen=True, slots=True)
class Job:
    """One event to replay."""

    event_id: str
    message: OutgoingMessage
    dead_letters: Sequence[ReceivedMessage]
    """Every copy that lies there; none where the message was rebuilt from its row."""


class Replaying:
    """One run. `outcomes` tells at any time what became of each job so far."""

    def __init__(
        self, *, ledger: ForwardLedger, topic: Publisher, leases: Leases, max_replays: int, events_per_second: float
    ) -> None:
        self._ledger = ledger
        self._topic = topic
        self._leases = leases
        self._max_replays = max_replays
        self._events_per_second = events_per_second
        self.outcomes: dict[str, Outcome] = {}
        self.replays: dict[str, int] = {}
        """Of each event, by the ledger."""

    async def replay(self, jobs: Sequence[Job], advance: Callable[[int], None]) -> None:
        """Replay all, in order. Cancelled, it finishes the step it is in.

        Raises:
            StorageUnavailableError, PublishFailedError: of the step that failed no outcome is known; what it made
                pending is published by the reconciler.
        """
        size = max(1, min(LARGEST_STEP, int(self._events_per_second / STEPS_PER_SECOND)))
        began = anyio.current_time()
        for start in range(0, len(jobs), size):
            await anyio.sleep_until(began + start / self._events_per_second)
            step = jobs[start : start + size]
            with anyio.CancelScope(shield=True):  # each of its calls has a bound of its own
                await self._replay(step)
            advance(len(step))

    async def _reopen(self, event_ids: Sequence[str]) -> dict[str, Reopened]:
        async for attempt in stamina.retry_context(on=StorageUnavailableError, attempts=None, timeout=PATIENCE_SECONDS):
            with attempt:
                # Where the first try was written and its answer lost, the second finds it pending: sent all the same.
                return await self._ledger.reopen(event_ids, max_replays=self._max_replays)
        raise AssertionError  # the context raises what the last attempt did

    async def _replay(self, jobs: Sequence[Job]) -> None:
        found = await self._reopen([job.event_id for job in jobs])
        fault_point("replay_after_reopen")
        outcomes = {event_id: OF_REOPENING[each.found] for event_id, each in found.items()}
        to_send = [job for job in jobs if outcomes[job.event_id] in PUBLISHED]
        if to_send:
            await self._topic.publish([job.message for job in to_send])
            fault_point("replay_after_publish")
        over = [
            job for job in jobs if outcomes[job.event_id] in PUBLISHED or outcomes[job.event_id] is Outcome.DELIVERED
        ]
        await self._leases.acknowledge(message for job in over for message in job.dead_letters)
        self.outcomes |= outcomes
        self.replays |= {event_id: each.replays for event_id, each in found.items()}

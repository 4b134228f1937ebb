"""The use case: replay dead events. Per step: read the messages, make the events pending, close their letters, publish.

The middle two are one transaction and come before the publish, so that a process that dies anywhere loses nothing: what
was made pending and not published is the reconciler's. Of two replays at once that transaction gives each event to one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import anyio
import stamina

from shared.errors import StorageUnavailableError
from shared.events import forward_message
from shared.events.dead_letter_table import DeadLetterTable
from shared.events.forward_message import OutgoingMessage
from shared.events.replay_ledger import ReopenResult, ReplayLedger
from shared.process.fault_points import fault_point
from shared.pubsub import Publisher
from worker.dead_letter_messages import original
from worker.operators.dead_letters.forecast import PUBLISHED, Outcome, outcome_of

STEPS_PER_SECOND: Final = 4
PATIENCE_SECONDS: Final = 20.0
"""How long Spanner may be away before a replay ends."""

LARGEST_STEP: Final = 100
"""Events of one transaction and one publish: what a kill leaves half done, and what Ctrl-C waits for."""


@dataclass(frozen=True, slots=True)
class Job:
    """One event to replay."""

    event_id: str

    from_row: bool = False
    """It has no dead letter: its message is made of its row."""


class Replaying:
    """One run. `outcomes` tells at any time what became of each job so far."""

    def __init__(
        self,
        *,
        ledger: ReplayLedger,
        letters: DeadLetterTable,
        topic: Publisher,
        max_replays: int,
        events_per_second: float,
    ) -> None:
        self._ledger = ledger
        self._letters = letters
        self._topic = topic
        self._max_replays = max_replays
        self._events_per_second = events_per_second
        self.outcomes: dict[str, Outcome] = {}

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

    async def _replay(self, jobs: Sequence[Job]) -> None:
        messages = await self._messages(jobs)
        found, is_retried = await self._reopen(list(messages))
        fault_point("replay_after_reopen")
        outcomes = {event_id: outcome_of(each, is_retried=is_retried) for event_id, each in found.items()}
        to_send = [messages[event_id] for event_id, outcome in outcomes.items() if outcome in PUBLISHED]
        if to_send:
            await self._topic.publish(to_send)
            fault_point("replay_after_publish")
        # What has no message any more was closed by somebody else since it was chosen.
        self.outcomes |= {job.event_id: outcomes.get(job.event_id, Outcome.TAKEN) for job in jobs}

    async def _messages(self, jobs: Sequence[Job]) -> Mapping[str, OutgoingMessage]:
        """The original bytes of each letter that is still open, and of the others what their rows make."""
        async for attempt in stamina.retry_context(on=StorageUnavailableError, attempts=None, timeout=PATIENCE_SECONDS):
            with attempt:
                letters = await self._letters.of([job.event_id for job in jobs if not job.from_row])
                events = await self._ledger.events([job.event_id for job in jobs if job.from_row])
        messages = {event_id: forward_message.encode(event) for event_id, event in events.items()}
        messages |= {
            each.subject: original(each) for all_of_it in letters.values() for each in all_of_it if each.is_open
        }
        return {job.event_id: messages[job.event_id] for job in jobs if job.event_id in messages}

    async def _reopen(self, event_ids: Sequence[str]) -> tuple[dict[str, ReopenResult], bool]:
        """What was found; and whether it took more than one try, of which the first may have been written."""
        async for attempt in stamina.retry_context(on=StorageUnavailableError, attempts=None, timeout=PATIENCE_SECONDS):
            with attempt:
                return await self._ledger.reopen(event_ids, max_replays=self._max_replays), attempt.num > 1
        raise AssertionError  # the context raises what the last attempt did

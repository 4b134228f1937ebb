"""Replays dead events in steps: read the messages; make the events pending and close their dead letters; publish.

The second part is one transaction and comes before the publish, so that a process that dies anywhere loses nothing: the
reconciler publishes events that were made pending and not published. Where two replays run at once, that transaction
gives each event to one of them.
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
"""How long a call to Spanner is retried before the replay fails."""

LARGEST_STEP: Final = 100
"""Events of one transaction and one publish, at most. A kill leaves one step half done; Ctrl-C waits for one."""


@dataclass(frozen=True, slots=True)
class Job:
    """One event to replay."""

    event_id: str

    from_row: bool = False
    """It has no dead letter, so its message is rebuilt from its row."""


class Replaying:
    """One run of a replay. `outcomes` holds what became of each job so far, by event_id."""

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
        """Replay the jobs in order, at the given rate. When it is cancelled it finishes the current step.

        `advance` is called with the number of jobs of each step that is done.

        Raises:
            StorageUnavailableError, PublishFailedError: a step failed, and its jobs have no outcome. The reconciler
                publishes the events that the step made pending.
        """
        size = max(1, min(LARGEST_STEP, int(self._events_per_second / STEPS_PER_SECOND)))
        began = anyio.current_time()
        for start in range(0, len(jobs), size):
            await anyio.sleep_until(began + start / self._events_per_second)
            step = jobs[start : start + size]
            with anyio.CancelScope(shield=True):  # each call in it has its own timeout
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
        # A job without a message: its dead letter was closed after it was chosen.
        self.outcomes |= {job.event_id: outcomes.get(job.event_id, Outcome.TAKEN) for job in jobs}

    async def _messages(self, jobs: Sequence[Job]) -> Mapping[str, OutgoingMessage]:
        """The original message of each dead letter that is still open, or the message rebuilt from the row."""
        async for attempt in stamina.retry_context(on=StorageUnavailableError, attempts=None, timeout=PATIENCE_SECONDS):
            with attempt:
                letters = await self._letters.of([job.event_id for job in jobs if not job.from_row])
                events = await self._ledger.events([job.event_id for job in jobs if job.from_row])
        messages = {event_id: forward_message.encode(event) for event_id, event in events.items()}
        messages |= {each.subject: original(each) for of_event in letters.values() for each in of_event if each.is_open}
        return {job.event_id: messages[job.event_id] for job in jobs if job.event_id in messages}

    async def _reopen(self, event_ids: Sequence[str]) -> tuple[dict[str, ReopenResult], bool]:
        """What was found, and whether it took several tries, of which an earlier one may have been written."""
        async for attempt in stamina.retry_context(on=StorageUnavailableError, attempts=None, timeout=PATIENCE_SECONDS):
            with attempt:
                return await self._ledger.reopen(event_ids, max_replays=self._max_replays), attempt.num > 1
        raise AssertionError  # not reached: the context raises the last attempt's error

"""Replays that were confirmed on a page and go on without it, until they are done, stopped, or the console ends."""

import enum
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import anyio
from anyio.abc import TaskGroup

from shared.errors import EventLoggingError
from worker.operators.connections import Connections
from worker.operators.dead_letters.choosing import Chosen, ReplayWish, note_replay, replaying_on
from worker.operators.dead_letters.forecast import Outcome, histogram
from worker.operators.dead_letters.replay_job import Replaying
from worker.operators.failure_reasons import explained
from worker.operators.terminal.output import say

KEPT: Final = 20
"""Replays that are remembered, with the outcome of each of their events."""


class Stage(enum.StrEnum):
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(slots=True)
class Run:
    """One replay. What became of each event is in `outcomes`, while it runs too."""

    run_id: str
    wish: ReplayWish
    chosen: Chosen
    replaying: Replaying
    began_at: datetime
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    stage: Stage = Stage.RUNNING
    done: int = 0
    ended_at: datetime | None = None
    failure: str | None = None
    """Why it FAILED."""

    @property
    def total(self) -> int:
        return len(self.chosen.jobs)

    @property
    def left(self) -> timedelta:
        """About how long it will take until the end, by its rate."""
        return timedelta(seconds=(self.total - self.done) / self.wish.rate)

    @property
    def outcomes(self) -> list[tuple[Outcome, str, int]]:
        """Counts by outcome and reason."""
        outcomes = self.chosen.outcomes_after(self.replaying.outcomes)
        return histogram((outcome, self.chosen.reasons[event_id]) for event_id, outcome in outcomes.items())

    def advance(self, jobs: int) -> None:
        self.done += jobs


class Replays:
    """The replays of this console, one at a time."""

    def __init__(self, connections: Connections, tasks: TaskGroup) -> None:
        self._connections = connections
        self._tasks = tasks
        self._runs: dict[str, Run] = {}

    @property
    def running(self) -> Run | None:
        return next((run for run in self._runs.values() if run.stage is Stage.RUNNING), None)

    @property
    def latest(self) -> list[Run]:
        """The latest first."""
        return list(self._runs.values())[::-1]

    def of(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def start(self, wish: ReplayWish, chosen: Chosen) -> Run:
        """Write the audit line and begin. Call it only where none is running."""
        note_replay(wish, chosen, dry_run=False)
        run = Run(secrets.token_hex(4), wish, chosen, replaying_on(self._connections, wish), datetime.now(UTC))
        self._runs[run.run_id] = run
        for forgotten in list(self._runs)[:-KEPT]:
            del self._runs[forgotten]
        self._tasks.start_soon(self._replay, run)
        return run

    async def _replay(self, run: Run) -> None:
        stage = Stage.STOPPED
        try:
            with run.scope:
                await run.replaying.replay(run.chosen.jobs, run.advance)
                stage = Stage.DONE
        except EventLoggingError as error:
            stage, run.failure = Stage.FAILED, explained(error, self._connections.settings)
        finally:
            run.stage, run.ended_at = stage, datetime.now(UTC)
            # For the operator who ends the console while a replay runs.
            say(f"Replay {run.run_id}: {stage.value}, {run.done} of {run.total} events done")

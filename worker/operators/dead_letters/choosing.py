"""Which events a replay is about and what would become of each: the dry run, and how a replay begins."""

from dataclasses import dataclass, field
from typing import Any, Final

from worker.operators.audit import note_action
from worker.operators.connections import Connections
from worker.operators.dead_letters.forecast import PUBLISHED, Outcome, forecast
from worker.operators.dead_letters.replay_job import Job, Replaying
from worker.operators.dead_letters.selection import Selection

ROWS_PER_PAGE: Final = 500
"""Dead events without a dead letter that are read at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayWish:
    """What an operator asks for."""

    choice: Selection
    from_rows: bool
    """Also dead events without a dead letter."""

    limit: int | None
    """Publish at most so many events; None is no limit."""

    rate: float
    """Events per second."""

    max_replays: int
    """Events that were replayed this many times are quarantined."""


@dataclass(slots=True)
class Chosen:
    """The events of one replay: the foreseen outcome of each, why it died, and the jobs for those to act on."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)

    def add(self, job: Job, outcome: Outcome, reason: str) -> None:
        self.outcomes[job.event_id] = outcome
        self.reasons[job.event_id] = reason
        if outcome in PUBLISHED or outcome is Outcome.DELIVERED:
            self.jobs.append(job)

    def outcomes_after(self, done: dict[str, Outcome]) -> dict[str, Outcome]:
        """The outcome of each event once a replay has ended with these; jobs that it did not reach are LEFT."""
        return self.outcomes | {job.event_id: Outcome.LEFT for job in self.jobs} | done

    def keep_within(self, limit: int | None) -> None:
        """Leave events beyond the first `limit` that would be published; None is no limit."""
        if limit is not None:
            for job in [job for job in self.jobs if self.outcomes[job.event_id] in PUBLISHED][limit:]:
                self.outcomes[job.event_id] = Outcome.LEFT
            self.jobs = [job for job in self.jobs if self.outcomes[job.event_id] is not Outcome.LEFT]


async def choose(connections: Connections, wish: ReplayWish) -> Chosen:
    """Read the events of the wish, and foresee what a replay would make of each. Changes nothing.

    Raises:
        StorageUnavailableError: no answer.
    """
    await connections.records.now()  # fails early where Spanner is down
    chosen = Chosen()
    await _add_letters(chosen, connections, wish.choice, wish.max_replays)
    if wish.from_rows:
        await _add_rows(chosen, connections, wish.choice, wish.max_replays)
    chosen.keep_within(wish.limit)
    return chosen


def note_replay(wish: ReplayWish, chosen: Chosen, *, dry_run: bool) -> None:
    """Write the audit line of a replay, or of its dry run."""
    choice = wish.choice.as_dict() | {"from_rows": wish.from_rows, "limit": wish.limit, "rate": wish.rate}
    note_action("dead-letters replay", choice=choice, count=len(chosen.jobs), dry_run=dry_run)


def replaying_on(connections: Connections, wish: ReplayWish) -> Replaying:
    """The replay of the wish, not begun."""
    return Replaying(
        ledger=connections.replay_ledger,
        letters=connections.dead_letters,
        topic=connections.forward_topic,
        max_replays=wish.max_replays,
        events_per_second=wish.rate,
    )


async def quarantined_among(connections: Connections, event_ids: list[str]) -> list[dict[str, Any]]:
    """The quarantined events with these ids, as documents: how often each was replayed, and how it failed last."""
    return [
        {
            "event_id": record.event_id,
            "event_name": record.event_name,
            "replays": record.replays,
            "attempts": record.attempts,
            "last_reason": record.last_reason,
            "last_attempt_at": record.last_attempt_at,
        }
        for record in (await connections.records.of(event_ids, with_metadata=False)).values()
    ]


async def _add_letters(chosen: Chosen, connections: Connections, choice: Selection, max_replays: int) -> None:
    """Add the events of open dead letters, those that died first coming first."""
    letters = await connections.dead_letters.open(choice.of_letters())
    states = await connections.records.ledger_states(each.subject for each in letters)
    for letter in letters:
        outcome = forecast(letter.kind, states.get(letter.subject), max_replays=max_replays)
        chosen.add(Job(letter.subject), outcome, letter.reason)


async def _add_rows(chosen: Chosen, connections: Connections, choice: Selection, max_replays: int) -> None:
    """Add dead events without an open dead letter."""
    table, page = connections.dead_letters, list[str]()
    while page := await table.dead_without_letter(after=page[-1] if page else "", limit=ROWS_PER_PAGE):
        for record in (await connections.records.of(page, with_metadata=False)).values():
            if choice.takes_row(record):
                outcome = forecast(None, record.ledger_state, max_replays=max_replays)
                chosen.add(Job(record.event_id, from_row=True), outcome, record.last_reason or "(none)")

"""`nest-events dead-letters replay`: chooses events, shows what would become of them, and with --yes replays them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from worker.operators.audit import note_action
from worker.operators.connections import Connections
from worker.operators.dead_letters.filters import Filters
from worker.operators.dead_letters.forecast import EXPLAINED, PUBLISHED, Outcome, forecast, histogram
from worker.operators.dead_letters.listing import mismatch_lines
from worker.operators.dead_letters.replay_job import Job, Replaying
from worker.operators.dead_letters.selection import Selection, selection
from worker.operators.exit_codes import OK
from worker.operators.terminal.output import say, show_json, show_table
from worker.operators.terminal.progress import count_progress

ROWS_PER_PAGE: Final = 500
"""Dead events without a dead letter that are read at a time."""

QUARANTINED_SHOWN: Final = 50
"""Quarantined events listed one by one; of the rest only the number is shown."""


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

    def keep_within(self, limit: int | None) -> None:
        """Leave events beyond the first `limit` that would be published; None is no limit."""
        if limit is not None:
            for job in [job for job in self.jobs if self.outcomes[job.event_id] in PUBLISHED][limit:]:
                self.outcomes[job.event_id] = Outcome.LEFT
            self.jobs = [job for job in self.jobs if self.outcomes[job.event_id] is not Outcome.LEFT]


async def replay_dead_letters(
    connections: Connections,
    *,
    filters: Filters,
    from_rows: bool,
    limit: int | None,
    rate: float,
    max_replays: int,
    yes: bool,
    as_json: bool,
) -> int:
    """Replay the chosen events with `yes`; else only show what would become of them.

    What became of each event is printed also where the replay fails or is interrupted.

    Long because it is the whole command in order: choose, count, audit, act, report.
    """
    choice = selection(filters, now=datetime.now(UTC))
    await connections.records.now()  # fails early where Spanner is down
    chosen = Chosen()
    await _add_letters(chosen, connections, choice, max_replays)
    if from_rows:
        await _add_rows(chosen, connections, choice, max_replays)
    if not chosen.outcomes:
        return await _show_none(connections, is_all=choice == Selection(), as_json=as_json)
    chosen.keep_within(limit)
    chosen_by = choice.as_dict() | {"from_rows": from_rows, "limit": limit, "rate": rate}
    note_action("dead-letters replay", choice=chosen_by, count=len(chosen.jobs), dry_run=not yes)
    if not yes:
        await _show(connections, chosen, chosen.outcomes, as_json=as_json, dry_run=True, interrupted=False)
        return OK
    replaying = Replaying(
        ledger=connections.replay_ledger,
        letters=connections.dead_letters,
        topic=connections.forward_topic,
        max_replays=max_replays,
        events_per_second=rate,
    )
    done = False
    try:
        with count_progress("Replaying", len(chosen.jobs)) as advance:
            await replaying.replay(chosen.jobs, advance)
        done = True
    finally:
        not_reached = {job.event_id: Outcome.LEFT for job in chosen.jobs}
        outcomes = chosen.outcomes | not_reached | replaying.outcomes
        await _show(connections, chosen, outcomes, as_json=as_json, dry_run=False, interrupted=not done)
    return OK


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


async def _show_none(connections: Connections, *, is_all: bool, as_json: bool) -> int:
    mismatch = await connections.dead_letters.mismatch()
    if as_json:
        show_json({"events": 0, "outcomes": {}, "adds_up": True, "dead_without_letter": mismatch.dead_without_letter})
        return OK
    say("No dead letters." if is_all else "No dead letter matches.")
    for line in mismatch_lines(mismatch):
        say(line)
    return OK


async def _show(
    connections: Connections,
    chosen: Chosen,
    outcomes: Mapping[str, Outcome],
    *,
    as_json: bool,
    dry_run: bool,
    interrupted: bool,
) -> None:
    counts = Counter(outcomes.values())
    event_ids = [event_id for event_id, outcome in outcomes.items() if outcome is Outcome.QUARANTINED]
    # An interrupted command makes no more calls.
    quarantined = [] if interrupted else await _quarantined(connections, event_ids[:QUARANTINED_SHOWN])
    by_reason = histogram((outcome, chosen.reasons[event_id]) for event_id, outcome in outcomes.items())
    if as_json:
        document = {
            "dry_run": dry_run,
            "interrupted": interrupted,
            "events": len(chosen.outcomes),
            "outcomes": {outcome.value: counts[outcome] for outcome in Outcome},
            "by_reason": [{"outcome": o.value, "reason": reason, "events": count} for o, reason, count in by_reason],
            "quarantined": quarantined,
            "adds_up": counts.total() == len(chosen.outcomes),
        }
        show_json(document)
        return
    say("Dry run. The result with --yes:" if dry_run else "Result:")
    show_table(
        ("outcome", "reason", "events", ""),
        [(outcome.value, reason, count, EXPLAINED[outcome]) for outcome, reason, count in by_reason],
        right=("events",),
    )
    parts = " + ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
    say(f"{len(chosen.outcomes)} events = {parts}")
    if quarantined:
        _show_quarantined(quarantined, more=len(event_ids) - len(quarantined))
    if interrupted:
        say("Ended early: run the same command again; it goes on with the events that are left.")


def _show_quarantined(quarantined: list[dict[str, Any]], *, more: int) -> None:
    say()
    say("Quarantined. Look at each with `nest-events trace EVENT_ID`:")
    columns = list(quarantined[0])
    show_table([name.replace("_", " ") for name in columns], [list(row.values()) for row in quarantined])
    if more:
        say(f"... and {more} more")


async def _quarantined(connections: Connections, event_ids: list[str]) -> list[dict[str, Any]]:
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

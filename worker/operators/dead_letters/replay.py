"""`nest-events dead-letters replay`: what is chosen, what would become of it, and with --yes doing it."""

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
from worker.operators.terminal.progress import advancing

ROWS_PER_PAGE: Final = 500

QUARANTINED_SHOWN: Final = 50
"""One by one; beyond it their number."""


@dataclass(slots=True)
class Chosen:
    """What one replay is about: of each event what is foreseen, why it died, and the job where there is one."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)

    def add(self, job: Job, outcome: Outcome, reason: str) -> None:
        self.outcomes[job.event_id] = outcome
        self.reasons[job.event_id] = reason
        if outcome in PUBLISHED or outcome is Outcome.DELIVERED:
            self.jobs.append(job)

    def keep_within(self, limit: int | None) -> None:
        """Leave for another run what would be sent beyond the limit."""
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
    """Say what would become of those chosen, or with `yes` do it."""
    choice = selection(filters, now=datetime.now(UTC))
    await connections.records.now()  # so that a Spanner that is away is told within its own short bound
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
        letters=connections.letters,
        topic=connections.forward_topic,
        max_replays=max_replays,
        events_per_second=rate,
    )
    done = False
    try:
        with advancing("Replaying", len(chosen.jobs)) as advance:
            await replaying.replay(chosen.jobs, advance)
        done = True
    finally:
        # Also when interrupted or failed: what was done is said.
        unreached = {job.event_id: Outcome.LEFT for job in chosen.jobs}
        outcomes = chosen.outcomes | unreached | replaying.outcomes
        await _show(connections, chosen, outcomes, as_json=as_json, dry_run=False, interrupted=not done)
    return OK


async def _add_letters(chosen: Chosen, connections: Connections, choice: Selection, max_replays: int) -> None:
    """Those that died first come first."""
    letters = await connections.letters.open(choice.of_letters())
    states = await connections.records.ledger_states(each.subject for each in letters)
    for letter in letters:
        outcome = forecast(letter.kind, states.get(letter.subject), max_replays=max_replays)
        chosen.add(Job(letter.subject), outcome, letter.reason)


async def _add_rows(chosen: Chosen, connections: Connections, choice: Selection, max_replays: int) -> None:
    """Dead events that have no open dead letter."""
    page: list[str] = []
    while page := await connections.letters.dead_without_letter(after=page[-1] if page else "", limit=ROWS_PER_PAGE):
        for record in (await connections.records.of(page, with_service=False)).values():
            if choice.takes_row(record):
                outcome = forecast(None, record.ledger_state, max_replays=max_replays)
                chosen.add(Job(record.event_id, from_row=True), outcome, record.last_reason or "(none)")


async def _show_none(connections: Connections, *, is_all: bool, as_json: bool) -> int:
    mismatch = await connections.letters.mismatch()
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
    worn_out = [event_id for event_id, outcome in outcomes.items() if outcome is Outcome.QUARANTINED]
    # When it is interrupted nothing more is asked for.
    quarantined = [] if interrupted else await _quarantined(connections, worn_out[:QUARANTINED_SHOWN])
    by_reason = histogram((outcome, chosen.reasons[event_id]) for event_id, outcome in outcomes.items())
    if as_json:
        show_json(
            {
                "dry_run": dry_run,
                "interrupted": interrupted,
                "events": len(chosen.outcomes),
                "outcomes": {outcome.value: counts[outcome] for outcome in Outcome},
                "by_reason": [
                    {"outcome": outcome.value, "reason": reason, "events": count}
                    for outcome, reason, count in by_reason
                ],
                "quarantined": quarantined,
                "adds_up": counts.total() == len(chosen.outcomes),
            }
        )
        return
    say("Dry run: with --yes, this would become of them." if dry_run else "This became of them.")
    show_table(
        ("outcome", "reason", "events", ""),
        [(outcome.value, reason, count, EXPLAINED[outcome]) for outcome, reason, count in by_reason],
        right=("events",),
    )
    parts = " + ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
    say(f"{len(chosen.outcomes)} events = {parts}")
    if quarantined:
        say()
        say("Quarantined; look at them one by one, `nest-events trace EVENT_ID`:")
        columns = list(quarantined[0])
        show_table([name.replace("_", " ") for name in columns], [list(row.values()) for row in quarantined])
        if len(worn_out) > len(quarantined):
            say(f"... and {len(worn_out) - len(quarantined)} more")
    if interrupted:
        say("Interrupted: run the same command again; it goes on with what is left.")


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
        for record in (await connections.records.of(event_ids, with_service=False)).values()
    ]

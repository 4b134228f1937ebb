"""`nest-events dead-letters replay`: what is chosen, what would become of it, and with --yes doing it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared import forward_message
from shared.event import Event
from worker.operators.audit import note_action
from worker.operators.connections import Connections
from worker.operators.exits import OK
from worker.operators.filters import Filters
from worker.operators.forecast import EXPLAINED, PUBLISHED, Outcome, forecast, forecast_row, histogram
from worker.operators.gathering import Gathered, explain_none, gathered
from worker.operators.letters import Casualty
from worker.operators.progress import advancing
from worker.operators.records import Record
from worker.operators.replaying import Job, Replaying
from worker.operators.selection import Selection, selected, selection
from worker.operators.terminal import say, show_json, show_table

ROWS_PER_PAGE = 500


@dataclass(slots=True)
class Chosen:
    """What one replay is about: of each event what is foreseen, why it died, and the job where there is one."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)

    def add(self, subject: str, outcome: Outcome, reason: str, job: Job | None, record: Record | None) -> None:
        self.outcomes[subject] = outcome
        self.reasons[subject] = reason
        if record is not None:
            self.records[subject] = record
        if job is not None:
            self.deaths[subject] = len(job.dead_letters)
            if outcome in PUBLISHED or outcome is Outcome.DELIVERED:
                self.jobs.append(job)

    def keep_within(self, limit: int | None) -> None:
        """Leave for another run what would be sent beyond the limit."""
        if limit is not None:
            for job in [job for job in self.jobs if self.outcomes[job.event_id] in PUBLISHED][limit:]:
                self.outcomes[job.event_id] = Outcome.LEFT
                self.jobs.remove(job)


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
    choice = selection(filters)
    async with gathered(connections) as found:
        chosen = Chosen()
        matching = selected(found.casualties, found.records, choice, found.now)
        for casualty in matching:
            _add(chosen, casualty, found, max_replays)
        if from_rows:
            await _add_rows(chosen, connections, found, choice, max_replays)
        await _give_back_the_rest(found, matching)
        if not chosen.outcomes:
            return await _show_none(connections, found, as_json=as_json)
        chosen.keep_within(limit)
        chosen_by = choice.as_dict() | {"from_rows": from_rows, "limit": limit, "rate": rate}
        note_action("dead-letters replay", choice=chosen_by, count=len(chosen.jobs), dry_run=not yes)
        if not yes:
            _show(chosen, chosen.outcomes, as_json=as_json, dry_run=True, interrupted=False)
            return OK
        replaying = Replaying(
            ledger=connections.ledger,
            topic=connections.forward_topic,
            leases=found.held.leases,
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
            _show(chosen, outcomes, as_json=as_json, dry_run=False, interrupted=not done)
        return OK


def _add(chosen: Chosen, casualty: Casualty, found: Gathered, max_replays: int) -> None:
    record = found.record(casualty)
    outcome = forecast(casualty, record, max_replays=max_replays)
    latest = casualty.latest
    job = None if latest.event is None else Job(casualty.subject, latest.original(), casualty.messages)
    chosen.add(casualty.subject, outcome, latest.reason, job, record)


async def _add_rows(
    chosen: Chosen, connections: Connections, found: Gathered, choice: Selection, max_replays: int
) -> None:
    """Dead events of which no dead letter was found."""
    with_letter = {each.latest.event_id for each in found.casualties}
    events: Sequence[Event] = ()
    while events := await connections.ledger.dead(after=events[-1].event_id if events else "", limit=ROWS_PER_PAGE):
        records = await connections.records.of(event.event_id for event in events)
        for event in events:
            record = records.get(event.event_id)
            if event.event_id in with_letter or record is None or not choice.takes_row(record):
                continue
            outcome = forecast_row(record, max_replays=max_replays)
            job = Job(event.event_id, forward_message.encode(event), ())
            chosen.add(event.event_id, outcome, record.last_reason or "(none)", job, record)


async def _give_back_the_rest(found: Gathered, matching: Sequence[Casualty]) -> None:
    """What this command is not about, others need not wait for."""
    ours = {message.message_id for casualty in matching for message in casualty.messages}
    await found.held.leases.give_back([m for m in found.held.leases.held() if m.message_id not in ours])


async def _show_none(connections: Connections, found: Gathered, *, as_json: bool) -> int:
    if as_json:
        show_json({"events": 0, "outcomes": {}, "adds_up": True})
    elif found.casualties:
        say(f"None of {len(found.casualties)} events with dead letters matches.")
    else:
        say(await explain_none(connections))
    return OK


def _show(chosen: Chosen, outcomes: dict[str, Outcome], *, as_json: bool, dry_run: bool, interrupted: bool) -> None:
    counts = Counter(outcomes.values())
    quarantined = [_history(chosen, subject) for subject, o in outcomes.items() if o is Outcome.QUARANTINED]
    by_reason = histogram((outcome, chosen.reasons[subject]) for subject, outcome in outcomes.items())
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
    if interrupted:
        say("Interrupted: run the same command again; it goes on with what is left.")


def _history(chosen: Chosen, subject: str) -> dict[str, Any]:
    record = chosen.records.get(subject)
    return {
        "event_id": subject,
        "event_name": None if record is None else record.event_name,
        "replays": None if record is None else record.replays,
        "attempts": None if record is None else record.attempts,
        "last_reason": None if record is None else record.last_reason,
        "last_attempt_at": None if record is None else record.last_attempt_at,
        "dead_letters": chosen.deaths.get(subject, 0),
    }

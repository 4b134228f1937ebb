"""`nest-events dead-letters replay`: chooses events, shows what would become of them, and with --yes replays them."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from worker.operators.connections import Connections
from worker.operators.dead_letters.choosing import (
    Chosen,
    ReplayWish,
    choose,
    note_replay,
    quarantined_among,
    replaying_on,
)
from worker.operators.dead_letters.filters import Filters
from worker.operators.dead_letters.forecast import EXPLAINED, Outcome, histogram
from worker.operators.dead_letters.listing import mismatch_lines
from worker.operators.dead_letters.selection import Selection, selection
from worker.operators.exit_codes import OK
from worker.operators.terminal.output import say, show_json, show_table
from worker.operators.terminal.progress import count_progress

QUARANTINED_SHOWN: Final = 50
"""Quarantined events listed one by one; of the rest only the number is shown."""


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
    wish = ReplayWish(choice=choice, from_rows=from_rows, limit=limit, rate=rate, max_replays=max_replays)
    chosen = await choose(connections, wish)
    if not chosen.outcomes:
        return await _show_none(connections, is_all=choice == Selection(), as_json=as_json)
    note_replay(wish, chosen, dry_run=not yes)
    if not yes:
        await _show(connections, chosen, chosen.outcomes, as_json=as_json, dry_run=True, interrupted=False)
        return OK
    replaying = replaying_on(connections, wish)
    done = False
    try:
        with count_progress("Replaying", len(chosen.jobs)) as advance:
            await replaying.replay(chosen.jobs, advance)
        done = True
    finally:
        outcomes = chosen.outcomes_after(replaying.outcomes)
        await _show(connections, chosen, outcomes, as_json=as_json, dry_run=False, interrupted=not done)
    return OK


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
    quarantined = [] if interrupted else await quarantined_among(connections, event_ids[:QUARANTINED_SHOWN])
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

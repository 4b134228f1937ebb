"""The receipt of an erasure: counts, when and by whom, and what lies elsewhere. Names no actor."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shared.events.erasure import EventState
from worker.operators.erasure.elsewhere import elsewhere
from worker.operators.erasure.erasing import Counts
from worker.operators.terminal.durations import moment
from worker.operators.terminal.output import say, show_fields, show_json, show_table

HASH_DIGITS: Final = 16
"""Of SHA-256 in hexadecimal: enough to find the entry of an actor whose id one has."""

EXPLAINED: Final = {
    EventState.NOT_FORWARDED: "logged, and no record of forwarding",
    EventState.PENDING: "not delivered yet",
    EventState.IN_FLIGHT: "claimed by a worker",
    EventState.DELIVERED: "confirmed by Statsig",
    EventState.DEAD: "dead-lettered",
    EventState.SETTLED_LONG_AGO: "delivered or dead, over 90 days ago",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What one run did, or in a dry run would do."""

    dry_run: bool
    actor: str
    """Its hash, by `hashed`."""

    before: datetime
    """Spanner's time when it began: later events are not looked at."""

    by: str
    counts: Counts
    in_flight: int = 0
    """Left, because a worker's claim had not ended."""

    ended_early: bool = False

    @property
    def is_complete(self) -> bool:
        return not self.in_flight and not self.ended_early

    def as_dict(self) -> dict[str, Any]:
        counts = self.counts
        return {
            "dry_run": self.dry_run,
            "actor_sha256": self.actor,
            "ingested_before": self.before,
            "by": self.by,
            "events": counts.events,
            "states": {state.value: counts.states[state] for state in EventState},
            "already_gone": counts.already_gone,
            "dead_letters": counts.dead_letters,
            "oldest": _day(counts.oldest),
            "newest": _day(counts.newest),
            "left_in_flight": self.in_flight,
            "complete": self.is_complete,
        }


def hashed(actor_id: str) -> str:
    """What stands for an actor in the audit and in log lines."""
    return hashlib.sha256(actor_id.encode()).hexdigest()[:HASH_DIGITS]


def show(receipt: Receipt, *, as_json: bool) -> None:
    """Print it; for an erasure with what lies elsewhere."""
    if as_json:
        show_json(receipt.as_dict() | ({} if receipt.dry_run else {"elsewhere": _elsewhere(receipt)}))
        return
    counts = receipt.counts
    say("Dry run. With --yes these would be erased:" if receipt.dry_run else "Erased:")
    rows = [(state.value, counts.states[state], EXPLAINED[state]) for state in EventState if counts.states[state]]
    if counts.already_gone:
        rows.append(("already gone", counts.already_gone, "by another run, or by a call whose answer was lost"))
    show_table(("state", "events", ""), [*rows, ("all", counts.events, "")], right=("events",))
    fields = {
        "dead letters": str(counts.dead_letters),
        "ingested": f"from {_day(counts.oldest)} to {_day(counts.newest)}" if counts.events else None,
        "looked at": f"everything that was ingested before {moment(receipt.before)}",
        "actor": f"sha256 {receipt.actor}",
        "by": receipt.by,
    }
    show_fields(fields)
    if receipt.in_flight:
        say(f"NOT COMPLETE: {receipt.in_flight} events are left, which a worker has claimed. Run it again.")
    if receipt.ended_early:
        say("NOT COMPLETE: ended early. Run it again: it goes on with what is left.")
    if not receipt.dry_run:
        say("Elsewhere:")
        show_fields(_elsewhere(receipt))


def _elsewhere(receipt: Receipt) -> dict[str, str]:
    maybe = (EventState.DELIVERED, EventState.SETTLED_LONG_AGO, EventState.IN_FLIGHT)
    return elsewhere(delivered=sum(receipt.counts.states[state] for state in maybe), before=receipt.before)


def _day(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%d}"

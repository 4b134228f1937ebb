"""`nest-events dead-letters discard`: closes the dead letters that no replay can send."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from shared.events.dead_letter_table import Closing
from worker.operators.audit import note_action
from worker.operators.connections import Connections
from worker.operators.dead_letters.filters import Filters
from worker.operators.dead_letters.forecast import Outcome, forecast
from worker.operators.dead_letters.selection import selection
from worker.operators.exit_codes import OK
from worker.operators.terminal.output import say, show_json, show_table

NEVER_SENT: Final = frozenset({Outcome.POISON, Outcome.MISSING})


async def discard_dead_letters(connections: Connections, *, filters: Filters, yes: bool, as_json: bool) -> int:
    """Close the chosen dead letters that no replay can send with `yes`; else only count them."""
    choice = selection(filters, now=datetime.now(UTC))
    letters = await connections.dead_letters.open(choice.of_letters())
    states = await connections.records.ledger_states(letter.subject for letter in letters)
    never_sent = [
        letter for letter in letters if forecast(letter.kind, states.get(letter.subject), max_replays=1) in NEVER_SENT
    ]
    note_action("dead-letters discard", choice=choice.as_dict(), count=len(never_sent), dry_run=not yes)
    closed = 0
    if yes:
        closed = await connections.dead_letters.close([letter.subject for letter in never_sent], Closing.DISCARDED)
    by_reason = Counter(letter.reason for letter in never_sent)
    document: dict[str, Any] = {
        "dry_run": not yes,
        "chosen": len(letters),
        "never_to_be_sent": len(never_sent),
        "closed": closed,
        "by_reason": dict(by_reason.most_common()),
    }
    if as_json:
        show_json(document)
        return OK
    if by_reason:
        show_table(("reason", "dead letters"), by_reason.most_common(), right=("dead letters",))
    left = len(letters) - len(never_sent)
    done = f"{closed} of {len(never_sent)} closed" if yes else f"Dry run: with --yes, {len(never_sent)} would be closed"
    say(f"{done}; left open, since a replay can send them: {left}.")
    return OK

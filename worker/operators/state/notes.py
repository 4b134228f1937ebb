"""What is worth knowing of a snapshot and is no problem; pure."""

from collections.abc import Iterator
from typing import Final

from shared.events.rules import RuleAction
from shared.process.process_states import Role
from worker.operators.state.asking import Unknown
from worker.operators.state.backlog import LAST_HOUR
from worker.operators.state.pending import is_held
from worker.operators.state.processes import last_report, running
from worker.operators.state.snapshot import Snapshot
from worker.operators.terminal.durations import shown

SHOWN_RULES: Final = 3
"""Rules of one action that are named; `rules list` shows all."""

_NOTED: Final = {
    RuleAction.REFUSE: "Refused",
    RuleAction.STORE_ONLY: "Stored only",
    RuleAction.DEAD_LETTER: "Dead-lettered",
}
"""What rules do to events, apart from holding them and pauses."""


def notes(snapshot: Snapshot) -> Iterator[str]:
    """What an operator should know beside the problems, in sentences."""
    if not isinstance(snapshot.dead, Unknown):
        recent = sum(each.within_the_hour for each in snapshot.dead)
        if recent:
            events = "event was" if recent == 1 else "events were"
            within = f"within the last {shown(LAST_HOUR)}"
            yield f"{recent} {events} dead-lettered {within}: see `nest-events dead-letters list`"
    if not isinstance(snapshot.oldest, Unknown):
        set_aside = sum(each.is_set_aside for each in snapshot.oldest.events)
        if set_aside:
            events = "event is" if set_aside == 1 else "events are"
            yield f"{set_aside} pending {events} set aside after failing alone, and will be tried again"
        held = sum(is_held(each, snapshot.held_by) for each in snapshot.oldest.events)
        if held:
            which = "pending" if snapshot.oldest.are_all else "oldest pending"
            yield f"A rule holds {held} of the {which} events; they are sent once it ends: `nest-events rules list`"
    for action in _NOTED:
        rules = snapshot.rules_of(action)
        if rules:
            names = "; ".join(f"{rule.match} ({rule.why})" for rule in rules[:SHOWN_RULES])
            more = f" and {len(rules) - SHOWN_RULES} more" if len(rules) > SHOWN_RULES else ""
            yield f"{_NOTED[action]} by rule: {names}{more}"
    if not isinstance(snapshot.processes, Unknown) and not running(snapshot.processes, Role.INGRESS):
        last = last_report(snapshot.processes, Role.INGRESS, snapshot.at)
        yield f"No ingress runs: {last}; without calls none is needed"

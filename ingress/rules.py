"""Applies operators' rules to a normalized event: refuses it, or stores it without forwarding it. Pure."""

from dataclasses import replace
from typing import Final

from shared.errors import RefusedByRuleError
from shared.events.event import EventLogRow
from shared.events.rules import RuleAction, RuleSet
from shared.events.statsig_projection import ProjectionWarning

STORED_ONLY: Final = "stored_only"
"""The `reason` of the warning that an event is stored and not forwarded, although that was asked for."""


def ruled(row: EventLogRow, rules: RuleSet) -> tuple[EventLogRow, tuple[ProjectionWarning, ...]]:
    """The row as it is to be written, and the warning that the caller gets for a change of it.

    Raises:
        RefusedByRuleError: a rule refuses the event.
    """
    if rules.is_empty:
        return row, ()
    if (refusing := rules.first(RuleAction.REFUSE, row.event)) is not None:
        raise RefusedByRuleError(refusing.rule_id, refusing.why)
    if not row.forward_to_statsig or (storing := rules.first(RuleAction.STORE_ONLY, row.event)) is None:
        return row, ()
    # Of such events, not of this one: a retry may meet a row from before the rule.
    description = f"rule {storing.rule_id} of an operator stores such events and does not forward them: {storing.why}"
    return replace(row, forward_to_statsig=False), (ProjectionWarning("forward_to_statsig", STORED_ONLY, description),)

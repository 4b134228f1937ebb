"""`nest-events rules add`, `pause` and `probe`: shows what a rule would apply to, and writes it."""

from collections.abc import Mapping
from typing import Any, Final

from shared.events.rules import Rule, RuleAction
from shared.process.current_rules import REFRESH_SECONDS
from worker.operators.audit import audit_entry, note_action, who
from worker.operators.connections import Connections
from worker.operators.exit_codes import OK
from worker.operators.rules.drafting import RuleOptions, check_beside, drafted, lever
from worker.operators.rules.forecast import RuleForecast, forecast
from worker.operators.rules.listing import rule_as_dict
from worker.operators.terminal.durations import moment
from worker.operators.terminal.output import say, show_fields, show_json, show_table

EXPLAINED: Final = {
    RuleAction.REFUSE: "New events are refused, and their callers told why. What is stored already is not touched.",
    RuleAction.STORE_ONLY: "New events are stored and not forwarded, and their callers warned. `nest-events forward` "
    "forwards them later.",
    RuleAction.HOLD: "Pending events stay pending, and are sent once the rule ends or is removed. Callers see nothing.",
    RuleAction.DEAD_LETTER: "Pending events are dead-lettered with the reason `rule`, and new ones too while the rule "
    "stands. `nest-events dead-letters replay` sends them later.",
    RuleAction.PAUSE: "Workers send nothing until the pause ends. Accepted events wait.",
    RuleAction.PROBE: "Workers whose circuit is open probe Statsig now.",
}

SOON: Final = f"While Spanner answers, every process applies it within {REFRESH_SECONDS + 1:g} s."


async def add_rule(connections: Connections, *, options: RuleOptions, yes: bool, as_json: bool) -> int:
    """Show what the rule would apply to; write it with `yes`."""
    rule, found = await propose_rule(connections, options, yes=yes)
    if yes:
        await write_rule(connections, rule, found)
    if as_json:
        document = {"rule": rule_as_dict(rule, rule.created_at), "would_apply_to": forecast_as_dict(found)}
        show_json({"dry_run": not yes} | document)
        return OK
    _show(rule, found, yes=yes)
    return OK


async def propose_rule(connections: Connections, options: RuleOptions, *, yes: bool) -> tuple[Rule, RuleForecast]:
    """The rule that is asked for and what it would apply to, with its audit line. Nothing is written yet.

    Raises:
        UsageError: there can be no such rule, or not beside those that are active.
        StorageUnavailableError: no answer.
    """
    read = await connections.rules.read()
    rule = drafted(options, by=who(), now=read.at)
    check_beside(rule, [each for each in read.rules if each.is_active(read.at)])
    found = await forecast(connections.database, rule.match, shards=connections.settings.forward_shards)
    note_action("rules add", choice=rule_choice(rule), count=found.events, dry_run=not yes)
    return rule, found


async def write_rule(connections: Connections, rule: Rule, found: RuleForecast) -> None:
    """Write the rule and its audit entry."""
    counts = {"rule_id": rule.rule_id, "events_of_the_last_hour": found.events, "pending": found.pending}
    await connections.rules.add([rule], audit_entry("rules add", why=rule.why, detail=rule_choice(rule) | counts))


async def add_lever(connections: Connections, *, action: RuleAction, why: str, lasts: str, as_json: bool) -> int:
    """Pause all forwarding, or probe at once. Done at once: it can be undone, and an incident does not wait."""
    rule = await pull_lever(connections, action, why=why, lasts=lasts)
    if as_json:
        show_json({"rule": rule_as_dict(rule, rule.created_at)})
        return OK
    say(f"{EXPLAINED[action]} {SOON}")
    if action is RuleAction.PAUSE:
        say(f"It ends at {moment(rule.expires_at)}, or with `nest-events resume`.")
    return OK


async def pull_lever(connections: Connections, action: RuleAction, *, why: str, lasts: str) -> Rule:
    """Write a rule for whole workers, with its audit.

    Raises:
        UsageError: the reason or the age is wrong, or forwarding is paused already.
        StorageUnavailableError: not known whether it was written.
    """
    read = await connections.rules.read()
    rule = lever(action, why=why, lasts=lasts, by=who(), now=read.at)
    if action is RuleAction.PAUSE:
        check_beside(rule, [each for each in read.rules if each.is_active(read.at)])
    note_action(action.value, choice={"for": lasts}, count=None, dry_run=False)
    await connections.rules.add([rule], audit_entry(action.value, why=rule.why, detail=rule_choice(rule)))
    return rule


def rule_choice(rule: Rule) -> dict[str, Any]:
    """The rule for the audit."""
    match = rule.match
    given: Mapping[str, Any] = {
        "event_name": match.event_name,
        "name_prefix": match.name_prefix,
        "event_type": match.event_type,
        "caller": match.caller,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return {"action": rule.action.value, **chosen, "expires_at": rule.expires_at.isoformat()}


def forecast_as_dict(found: RuleForecast) -> dict[str, Any]:
    return {
        "events_of_the_last_hour": found.events,
        "of_these_to_forward": found.to_forward,
        "largest": [{"event_name": g.event_name, "caller": g.caller, "events": g.events} for g in found.largest],
        "pending": found.pending,
        "pending_looked_at": found.looked_at,
        "are_all_pending": found.are_all_pending,
    }


def _show(rule: Rule, found: RuleForecast, *, yes: bool) -> None:
    say(f"Rule {rule.rule_id} is written." if yes else "Dry run. With --yes this rule is written:")
    show_fields(
        {
            "action": rule.action.value,
            "events with": str(rule.match),
            "why": rule.why,
            "until": moment(rule.expires_at),
        }
    )
    say()
    say(EXPLAINED[rule.action])
    say(SOON)
    say()
    say(f"Of the last hour {found.events} events match, {found.to_forward} of them to be forwarded.")
    if found.largest:
        rows = [(each.event_name, each.caller or "(no caller)", each.events) for each in found.largest]
        show_table(("event name", "caller", "events"), rows, right=("events",))
    which = "pending events" if found.are_all_pending else "oldest pending events"
    say(f"Of the {found.looked_at} {which} {found.pending} match.")

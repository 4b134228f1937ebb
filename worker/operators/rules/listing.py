"""`nest-events rules list` and `audit`: the rules, and what operators changed."""

import json
from datetime import UTC, datetime
from typing import Any

from shared.events.rules import Rule
from worker.operators.connections import Connections
from worker.operators.exit_codes import OK
from worker.operators.terminal.durations import moment, parse_moment, shown
from worker.operators.terminal.output import say, show_json, show_table


async def list_rules(connections: Connections, *, with_ended: bool, as_json: bool) -> int:
    """Print the rules that are active, or with `with_ended` all of the last 90 days after their end."""
    now = (await connections.rules.read()).at
    rules = [rule for rule in await connections.rules.history() if with_ended or rule.is_active(now)]
    if as_json:
        show_json({"rules": [rule_as_dict(rule, now) for rule in rules]})
        return OK
    if not rules:
        say("No rule." if with_ended else "No rule is active.")
        return OK
    columns = ("rule", "action", "events with", "state", "by", "why")
    show_table(
        columns,
        [(r.rule_id, r.action.value, str(r.match), state_of(r, now), r.created_by, r.why) for r in rules],
    )
    return OK


async def list_audit(connections: Connections, *, since: str, limit: int, as_json: bool) -> int:
    """Print what operators changed, the latest first."""
    begin = parse_moment(since, now=datetime.now(UTC))
    entries = await connections.audit_trail.latest(since=begin, limit=limit)
    if as_json:
        show_json(
            {
                "since": begin,
                "entries": [
                    {"at": e.at, "who": e.who, "command": e.command, "why": e.why, "detail": dict(e.detail)}
                    for e in entries
                ],
            }
        )
        return OK
    if not entries:
        say(f"Nothing since {moment(begin)}.")
        return OK
    rows = [(e.at, e.who, e.command, e.why, json.dumps(e.detail, ensure_ascii=False)) for e in entries]
    show_table(("when", "who", "command", "why", "detail"), rows)
    if len(entries) == limit:
        say(f"The latest {limit}; there may be more: see --limit.")
    return OK


def state_of(rule: Rule, now: datetime) -> str:
    """What the rule does now, in a few words."""
    if rule.is_active(now):
        return f"for another {shown(rule.ends_at - now)}"
    if rule.removed_at is not None and rule.removed_at <= rule.expires_at:
        ended = f"removed {moment(rule.removed_at)} by {rule.removed_by}"
    else:
        ended = f"expired {moment(rule.expires_at)}"
    is_to_sweep = rule.sweep_at is not None and rule.swept_at is None
    return f"{ended}; its events are being published again" if is_to_sweep else ended


def rule_as_dict(rule: Rule, now: datetime) -> dict[str, Any]:
    return {
        "rule_id": rule.rule_id,
        "action": rule.action.value,
        "event_name": rule.match.event_name,
        "name_prefix": rule.match.name_prefix,
        "event_type": rule.match.event_type,
        "caller": rule.match.caller,
        "why": rule.why,
        "active": rule.is_active(now),
        "created_at": rule.created_at,
        "created_by": rule.created_by,
        "expires_at": rule.expires_at,
        "removed_at": rule.removed_at,
        "removed_by": rule.removed_by,
        "swept_at": rule.swept_at,
    }

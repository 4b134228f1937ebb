"""`nest-events rules remove` and `resume`: ends rules."""

import re
from collections.abc import Sequence
from typing import Final

from shared.events.rules import RuleAction
from worker.operators.audit import audit_entry, note_action, who
from worker.operators.connections import Connections
from worker.operators.exit_codes import OK, UnknownError, UsageError
from worker.operators.rules.adding import SOON
from worker.operators.terminal.output import say, show_json

_RULE_ID: Final = re.compile(r"[0-9a-f]{8}")


async def remove_rules(connections: Connections, *, rule_ids: Sequence[str], why: str, as_json: bool) -> int:
    """End rules at once, and print which they were. Raises as `end_rules` does."""
    removed, left = await end_rules(connections, rule_ids, why=why)
    if as_json:
        show_json({"removed": removed, "not_active": left})
        return OK
    say(f"Removed: {', '.join(removed)}. {SOON}")
    if left:
        say(f"Not active, so left alone: {', '.join(left)}.")
    return OK


async def end_rules(connections: Connections, rule_ids: Sequence[str], *, why: str) -> tuple[list[str], list[str]]:
    """End rules at once, with the audit; which were, and which were not active. A worker publishes again what was held.

    Raises:
        UsageError: an id is malformed.
        UnknownError: none of the rules is active.
        StorageUnavailableError: not known whether they have ended.
    """
    wanted = [typed.strip().lower() for typed in rule_ids]
    for typed in wanted:
        if not _RULE_ID.fullmatch(typed):
            raise UsageError(f"'{typed}' is not a rule's id: `nest-events rules list` shows them")
    removed = await _remove(connections, "rules remove", wanted, why)
    if not removed:
        raise UnknownError(f"no active rule {', '.join(wanted)}: `nest-events rules list --all` shows what ended")
    return removed, [each for each in wanted if each not in removed]


async def resume(connections: Connections, *, why: str, as_json: bool) -> int:
    """End every pause, and say whether there was one."""
    removed = await end_pauses(connections, why=why)
    if as_json:
        show_json({"removed": removed})
        return OK
    say(f"Forwarding goes on. {SOON}" if removed else "Forwarding is not paused.")
    return OK


async def end_pauses(connections: Connections, *, why: str) -> list[str]:
    """End every pause, with the audit; the ids of those that there were.

    Raises:
        StorageUnavailableError: not known whether they have ended.
    """
    read = await connections.rules.read()
    pauses = [r.rule_id for r in read.rules if r.action is RuleAction.PAUSE and r.is_active(read.at)]
    return await _remove(connections, "resume", pauses, why) if pauses else []


async def _remove(connections: Connections, command: str, rule_ids: Sequence[str], why: str) -> list[str]:
    note_action(command, choice={"rules": list(rule_ids)}, count=None, dry_run=False)
    entry = audit_entry(command, why=why.strip() or None, detail={"rules": list(rule_ids)})
    return await connections.rules.remove(rule_ids, who(), entry)

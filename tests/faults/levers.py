"""Operators' rules in a row: written to the run's database as `nest-events rules` writes them."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.events.audit_trail import AuditEntry
from shared.events.rule_table import RuleTable
from shared.events.rules import Match, Rule, RuleAction
from shared.process.current_rules import FRESH_SECONDS, REFRESH_SECONDS
from shared.spanner.rules import SpannerRuleTable
from shared.spanner.transactions import Transactions

KNOWN_SECONDS: Final = REFRESH_SECONDS + FRESH_SECONDS
"""After this every process that runs applies a new rule, also where two of its reads failed."""

_AUDIT: Final = AuditEntry(who="the lab", command="rules add", why=None, detail={})


def rule_table(database: Any) -> RuleTable:
    """One for each run: on the emulator the transactions of one connection must not meet."""
    return SpannerRuleTable(Transactions(database, one_at_a_time=True), timeout_seconds=10)


def new_rule(action: RuleAction, match: Match, *, seconds: float = 3600.0) -> Rule:
    now = datetime.now(UTC)
    return Rule(
        rule_id=secrets.token_hex(4),
        action=action,
        match=match,
        why="the lab",
        created_at=now,
        created_by="the lab",
        expires_at=now + timedelta(seconds=seconds),
    )


@asynccontextmanager
async def ruled(table: RuleTable, action: RuleAction, match: Match | None = None) -> AsyncIterator[str]:
    """A rule that stands until the end of the block."""
    rule = new_rule(action, match or Match())
    await table.add([rule], _AUDIT)
    try:
        yield rule.rule_id
    finally:
        await table.remove([rule.rule_id], "the lab", _AUDIT)


async def is_swept(table: RuleTable, rule_id: str) -> bool:
    return any(rule.rule_id == rule_id and rule.swept_at for rule in await table.history())

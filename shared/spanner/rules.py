"""Operators' rules on Spanner."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared.events.audit_trail import AuditEntry
from shared.events.rule_table import RULE_TABLE, ReadRules
from shared.events.rules import Match, Rule, RuleAction
from shared.spanner import mutations
from shared.spanner.audit_trail import add_entry
from shared.spanner.connection import spanner_call
from shared.spanner.reading import AT_INTERVALS, read_by_key
from shared.spanner.transactions import Transactions, current_time


class _RuleRow(NamedTuple):
    """The columns of a rule, in the table's order."""

    rule_id: str
    action: str
    event_name: str | None
    name_prefix: str | None
    event_type: str | None
    caller: str | None
    why: str
    created_at: datetime | str
    created_by: str
    expires_at: datetime
    removed_at: datetime | None
    removed_by: str | None
    sweeping_until: datetime | None
    swept_at: datetime | None


_COLUMNS: Final = _RuleRow._fields

# Reads the whole table, which has a few rows: one for each rule of the last 90 days. A left join from one row, so that
# there is a time also where there is no rule.
_NEEDED: Final = f"""
SELECT time.read_at, {", ".join(f"rule.{column}" for column in _COLUMNS)}
FROM (SELECT CURRENT_TIMESTAMP() AS read_at) AS time
LEFT JOIN {RULE_TABLE} AS rule
  ON (rule.removed_at IS NULL AND rule.expires_at > time.read_at)
  OR (rule.action IN ('hold', 'dead_letter') AND rule.swept_at IS NULL)"""  # noqa: S608 - constants

_HISTORY: Final = f"SELECT {', '.join(_COLUMNS)} FROM {RULE_TABLE} ORDER BY created_at DESC"  # noqa: S608 - as above


class SpannerRuleTable:
    """RuleTable on NestEventRule."""

    def __init__(self, transactions: Transactions, *, timeout_seconds: float) -> None:
        """`transactions` are those of the SpannerForwardLedger on the same database."""
        self._transactions = transactions
        self._timeout_seconds = timeout_seconds

    async def read(self) -> ReadRules:
        rows = await self._query(_NEEDED)
        return ReadRules(tuple(_rule(values) for _, *values in rows if values[0] is not None), at=rows[0][0])

    async def history(self) -> list[Rule]:
        return [_rule(row) for row in await self._query(_HISTORY)]

    async def add(self, rules: Sequence[Rule], audit: AuditEntry) -> None:
        def write(batch: Any) -> None:
            mutations.insert(batch, RULE_TABLE, _COLUMNS, [_row(rule) for rule in rules])
            add_entry(batch, audit)

        await self._transactions.commit(write, within_seconds=self._timeout_seconds)

    async def remove(self, rule_ids: Sequence[str], by: str, audit: AuditEntry) -> list[str]:
        async def work(transaction: Any) -> list[str]:
            rows = await read_by_key(transaction, RULE_TABLE, ("rule_id", "expires_at", "removed_at"), rule_ids)
            now = await current_time(transaction)
            active = [rule_id for rule_id, expires_at, removed_at in rows if removed_at is None and expires_at > now]
            if active:
                columns = ("rule_id", "removed_at", "removed_by")
                mutations.update(
                    transaction, RULE_TABLE, columns, [(rule_id, COMMIT_TIMESTAMP, by) for rule_id in active]
                )
                add_entry(transaction, audit)
            return active

        return await self._transactions.run(work, within_seconds=self._timeout_seconds)

    async def begin_sweep(self, rule_id: str, *, seconds: float, is_mine: bool = False) -> bool:
        async def work(transaction: Any) -> bool:
            columns = ("sweeping_until", "swept_at")
            rows = await read_by_key(transaction, RULE_TABLE, columns, [rule_id])
            now = await current_time(transaction)
            is_free = any(swept_at is None and (is_mine or until is None or until <= now) for until, swept_at in rows)
            if is_free:
                until = now + timedelta(seconds=seconds)
                mutations.update(transaction, RULE_TABLE, ("rule_id", "sweeping_until"), [(rule_id, until)])
            return is_free

        return await self._transactions.run(work, within_seconds=self._timeout_seconds)

    async def end_sweep(self, rule_id: str) -> None:
        def write(batch: Any) -> None:
            mutations.update(batch, RULE_TABLE, ("rule_id", "swept_at"), [(rule_id, COMMIT_TIMESTAMP)])

        await self._transactions.commit(write, within_seconds=self._timeout_seconds)

    async def _query(self, query: str) -> list[Sequence[Any]]:
        async with spanner_call(self._timeout_seconds), self._transactions.database.snapshot() as snapshot:
            return [row async for row in await snapshot.execute_sql(query, retry=AT_INTERVALS)]


def _row(rule: Rule) -> _RuleRow:
    return _RuleRow(
        rule_id=rule.rule_id,
        action=rule.action.value,
        event_name=rule.match.event_name,
        name_prefix=rule.match.name_prefix,
        event_type=rule.match.event_type,
        caller=rule.match.caller,
        why=rule.why,
        created_at=COMMIT_TIMESTAMP,
        created_by=rule.created_by,
        expires_at=rule.expires_at,
        removed_at=None,
        removed_by=None,
        sweeping_until=None,
        swept_at=None,
    )


def _rule(values: Sequence[Any]) -> Rule:
    row = dict(zip(_COLUMNS, values, strict=True))
    match = Match(**{name: row.pop(name) for name in ("event_name", "name_prefix", "event_type", "caller")})
    return Rule(match=match, **row | {"action": RuleAction(row["action"])})

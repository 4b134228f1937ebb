"""The operators' rules and the audit trail in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared.errors import RowExistsError
from shared.events.audit_trail import AuditEntry
from shared.events.rule_table import ReadRules
from shared.events.rules import Rule
from tests.support.fakes.memory_event_log import MemoryStore
from tests.support.fakes.scripted_failures import ScriptedFailures


class MemoryRuleTable:
    """RuleTable on a MemoryStore."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self.failures = failures or ScriptedFailures()

    async def read(self) -> ReadRules:
        async with self.failures.around("read_rules"):
            now = self._store.clock.now()
            rules = self._store.rules.values()
            needed = [
                rule for rule in rules if rule.is_active(now) or (rule.sweep_at is not None and rule.swept_at is None)
            ]
            return ReadRules(tuple(needed), at=now)

    async def history(self) -> list[Rule]:
        async with self.failures.around("rule_history"):
            return sorted(self._store.rules.values(), key=lambda rule: rule.created_at, reverse=True)

    async def add(self, rules: Sequence[Rule], audit: AuditEntry) -> None:
        async with self.failures.around("add_rules"):
            if any(rule.rule_id in self._store.rules for rule in rules):
                raise RowExistsError("a row with this key exists already")
            now = self._store.clock.now()
            self._store.rules |= {rule.rule_id: replace(rule, created_at=now) for rule in rules}
            self._store.audit.append(replace(audit, at=now))

    async def remove(self, rule_ids: Sequence[str], by: str, audit: AuditEntry) -> list[str]:
        async with self.failures.around("remove_rules"):
            now = self._store.clock.now()
            known = self._store.rules
            active = [each for each in rule_ids if each in known and known[each].is_active(now)]
            for each in active:
                known[each] = replace(known[each], removed_at=now, removed_by=by)
            if active:
                self._store.audit.append(replace(audit, at=now))
            return active

    async def begin_sweep(self, rule_id: str, *, seconds: float, is_mine: bool = False) -> bool:
        async with self.failures.around("begin_sweep"):
            now = self._store.clock.now()
            rule = self._store.rules.get(rule_id)
            is_taken = rule is not None and not is_mine and (rule.sweeping_until or now) > now
            if rule is None or rule.swept_at is not None or is_taken:
                return False
            self._store.rules[rule_id] = replace(rule, sweeping_until=now + timedelta(seconds=seconds))
            return True

    async def end_sweep(self, rule_id: str) -> None:
        async with self.failures.around("end_sweep"):
            self._store.rules[rule_id] = replace(self._store.rules[rule_id], swept_at=self._store.clock.now())


class MemoryAuditTrail:
    """AuditTrail on a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def write(self, entry: AuditEntry) -> None:
        self._store.audit.append(replace(entry, at=self._store.clock.now()))

    async def latest(self, *, since: datetime, limit: int) -> list[AuditEntry]:
        found = [entry for entry in self._store.audit if entry.at is not None and entry.at >= since]
        return list(reversed(found))[:limit]

"""Where operators' rules are kept. The port."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from shared.events.audit_trail import AuditEntry
from shared.events.rules import Rule

RULE_TABLE: Final = "NestEventRule"

MAX_ACTIVE_RULES: Final = 200
"""Every event is compared with each of them, and every process reads them every few seconds."""


@dataclass(frozen=True, slots=True)
class ReadRules:
    """The rules of one read."""

    rules: tuple[Rule, ...]
    """Those that are active, and those with a sweep that is not done."""

    at: datetime
    """Spanner's time of the read."""


class RuleTable(Protocol):
    """A few rows. All times are Spanner's own."""

    async def read(self) -> ReadRules:
        """Read the rules that a process needs; a strong read.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def history(self) -> list[Rule]:
        """Read all rules, also those that have ended within 90 days; the latest first.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

    async def add(self, rules: Sequence[Rule], audit: AuditEntry) -> None:
        """Write new rules and the audit entry, all or nothing. `created_at` becomes the time of the commit.

        Raises:
            RowExistsError: a rule_id is taken, or this call was written before and its answer was lost.
            StorageUnavailableError: not known whether it was written.
        """
        ...

    async def remove(self, rule_ids: Sequence[str], by: str, audit: AuditEntry) -> list[str]:
        """End those of the rules that are active, and write the audit entry if there is one; returns their ids.

        Raises:
            StorageUnavailableError: not known whether it was written; call again.
        """
        ...

    async def begin_sweep(self, rule_id: str, *, seconds: float, is_mine: bool = False) -> bool:
        """Take the sweep of a rule for so many seconds. False if it is done, or if another process has it.

        With `is_mine`, extend a sweep that this process has.

        Raises:
            StorageUnavailableError: not known whether it was written.
        """
        ...

    async def end_sweep(self, rule_id: str) -> None:
        """Note that the sweep is done.

        Raises:
            StorageUnavailableError: not known whether it was written; the sweep is then done again.
        """
        ...

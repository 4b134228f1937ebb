"""The audit trail: what operators changed, and who, when and why. The port."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

AUDIT_TABLE: Final = "NestEventAudit"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing that an operator did. Its fields never name an actor."""

    who: str
    command: str
    """As it is typed, without options: at most 40 characters."""

    why: str | None
    detail: Mapping[str, Any]
    """What the command was given, and its counts; encodes as JSON."""

    at: datetime | None = None
    """Spanner's time; None before the entry is written."""


class AuditTrail(Protocol):
    """Append-only."""

    async def write(self, entry: AuditEntry) -> None:
        """Write an entry.

        Raises:
            StorageUnavailableError: not known whether it was written.
        """
        ...

    async def latest(self, *, since: datetime, limit: int) -> list[AuditEntry]:
        """Read up to `limit` entries, the latest first.

        Raises:
            StorageUnavailableError: no answer.
        """
        ...

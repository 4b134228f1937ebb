"""Rules and audit entries as an operator's command would make them."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.events.audit_trail import AuditEntry
from shared.events.rules import Match, Rule, RuleAction

AUDIT = AuditEntry(who="alice", command="rules add", why="a test", detail={"filter": {"event_name": "order_paid"}})


def sample_rule(action: RuleAction = RuleAction.HOLD, *, now: datetime | None = None, **fields: Any) -> Rule:
    """A rule for events named order_paid, unless a match is given; it ends an hour from `now`."""
    now = now or datetime.now(UTC)
    given: dict[str, Any] = {
        "rule_id": secrets.token_hex(4),
        "match": Match(event_name="order_paid"),
        "why": "a test",
        "created_at": now,
        "created_by": "alice",
        "expires_at": now + timedelta(hours=1),
    }
    return Rule(action=action, **given | fields)

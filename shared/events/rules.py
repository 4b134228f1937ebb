"""Operators' rules: which events to refuse, store only, hold or dead-letter, and whether forwarding is paused. Pure."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared.events.event import Event


class RuleAction(enum.StrEnum):
    REFUSE = "refuse"
    """The ingress refuses the event and tells the caller why."""

    STORE_ONLY = "store_only"
    """The ingress stores the event, does not forward it, and warns the caller."""

    HOLD = "hold"
    """Workers do not send the event. It stays pending, and is sent once the rule has ended."""

    DEAD_LETTER = "dead_letter"
    """Workers dead-letter the event instead of sending it."""

    PAUSE = "pause"
    """Workers send nothing at all."""

    PROBE = "probe"
    """Workers whose circuit is open send their next probe at once."""


MATCHING: Final = frozenset({RuleAction.REFUSE, RuleAction.STORE_ONLY, RuleAction.HOLD, RuleAction.DEAD_LETTER})
"""The actions that apply to chosen events. The others apply to all workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which events a rule applies to: those that have every value that is set."""

    event_name: str | None = None
    name_prefix: str | None = None
    event_type: str | None = None
    caller: str | None = None

    @property
    def is_empty(self) -> bool:
        return (self.event_name, self.name_prefix, self.event_type, self.caller) == (None, None, None, None)

    def takes(self, event: Event) -> bool:
        return (
            (self.event_name is None or self.event_name == event.event_name)
            and (self.name_prefix is None or event.event_name.startswith(self.name_prefix))
            and (self.event_type is None or self.event_type == event.event_type)
            and (self.caller is None or self.caller == event.caller)
        )

    def __str__(self) -> str:
        given = {
            "event name": self.event_name,
            "event names beginning with": self.name_prefix,
            "event type": self.event_type,
            "caller": self.caller,
        }
        return ", ".join(f"{what} {value}" for what, value in given.items() if value is not None) or "everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule as it is written. All times are Spanner's own."""

    rule_id: str
    action: RuleAction
    match: Match
    why: str
    """Recorded. Callers read it in refusals and warnings."""

    created_at: datetime
    created_by: str
    expires_at: datetime
    removed_at: datetime | None = None
    removed_by: str | None = None
    sweeping_until: datetime | None = None
    swept_at: datetime | None = None

    @property
    def ends_at(self) -> datetime:
        return self.expires_at if self.removed_at is None else min(self.removed_at, self.expires_at)

    def is_active(self, now: datetime) -> bool:
        return now < self.ends_at

    @property
    def sweep_at(self) -> datetime | None:
        """From when the pending events that it concerns are to be published again; None if it concerns none.

        Held events when the rule ends. Events to dead-letter when it begins: until then nothing may bring them.
        """
        match self.action:
            case RuleAction.HOLD:
                return self.ends_at
            case RuleAction.DEAD_LETTER:
                return self.created_at
            case _:
                return None


class RuleSet:
    """The rules that are active at one time. Cheap to ask where there are none."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        by_action: dict[RuleAction, list[Rule]] = {action: [] for action in RuleAction}
        for rule in rules:
            by_action[rule.action].append(rule)
        self._by_action = {
            action: tuple(sorted(of, key=lambda rule: (rule.created_at, rule.rule_id)))
            for action, of in by_action.items()
        }

    def of(self, action: RuleAction) -> tuple[Rule, ...]:
        """The rules with this action, the oldest first."""
        return self._by_action[action]

    @property
    def is_empty(self) -> bool:
        return not any(self._by_action.values())

    def first(self, action: RuleAction, event: Event) -> Rule | None:
        """The oldest rule with this action that takes the event; None if none does."""
        return next((rule for rule in self._by_action[action] if rule.match.takes(event)), None)


NO_RULES: Final = RuleSet()

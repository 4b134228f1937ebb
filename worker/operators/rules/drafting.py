"""Makes a rule of the options as typed, or says what is wrong with them; pure but for the new rule's id."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.events.rule_table import MAX_ACTIVE_RULES
from shared.events.rules import MATCHING, Match, Rule, RuleAction
from worker.operators.exit_codes import UsageError
from worker.operators.terminal.durations import parse_age

LONGEST: Final = timedelta(days=365)
"""Every rule expires: what was made in an incident must not stay because nobody remembers it."""

MAX_WHY: Final = 150
"""A refusal's message has at most 200 characters, and the rule's id comes first in it."""

ALL: Final = Match()
"""What a rule for whole workers has."""

_LIMITS: Final = {"event_name": 256, "name_prefix": 256, "event_type": 128, "caller": 320}
"""As the columns are long."""

_OPTIONS: Final = {
    "event_name": "--event-name",
    "name_prefix": "--name-prefix",
    "event_type": "--event-type",
    "caller": "--caller",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOptions:
    """The options as typed."""

    action: str
    event_name: str | None = None
    name_prefix: str | None = None
    event_type: str | None = None
    caller: str | None = None
    why: str = ""
    lasts: str = "24h"


def drafted(options: RuleOptions, *, by: str, now: datetime) -> Rule:
    """The rule that these options ask for; it begins now.

    Raises:
        UsageError: the first thing that is wrong.
    """
    action = _action(options.action)
    given = {name: value for name in _LIMITS if (value := getattr(options, name)) is not None}
    match = Match(**{name: _text(value, _OPTIONS[name], _LIMITS[name]) for name, value in given.items()})
    if action in MATCHING and match.is_empty:
        raise UsageError(f"say which events: give at least one of {', '.join(_OPTIONS.values())}")
    if match.event_name is not None and match.name_prefix is not None:
        raise UsageError("give either --event-name or --name-prefix")
    return lever(action, match, why=options.why, lasts=options.lasts, by=by, now=now)


def lever(action: RuleAction, match: Match = ALL, *, why: str, lasts: str, by: str, now: datetime) -> Rule:
    """A rule that begins now and lasts for the age `lasts`.

    Raises:
        UsageError: the reason or the age is wrong.
    """
    age = parse_age(lasts)
    if not timedelta(0) < age <= LONGEST:
        raise UsageError(f"--for {lasts}: a rule lasts at most {LONGEST.days}d, and at least 1s")
    return Rule(
        rule_id=secrets.token_hex(4),
        action=action,
        match=match,
        why=_text(why, "--why", MAX_WHY),
        created_at=now,
        created_by=by,
        expires_at=now + age,
    )


def check_beside(rule: Rule, active: Iterable[Rule]) -> None:
    """Check a new rule against those that are active.

    Raises:
        UsageError: one of them does the same, or there are too many.
    """
    others = list(active)
    for other in others:
        if (other.action, other.match) == (rule.action, rule.match):
            raise UsageError(
                f"rule {other.rule_id} does the same already; remove it first to change its end or its text"
            )
    if len(others) >= MAX_ACTIVE_RULES:
        raise UsageError(f"{len(others)} rules are active, the most there may be; remove some first")


def _action(typed: str) -> RuleAction:
    allowed = {action.value.replace("_", "-"): action for action in RuleAction if action in MATCHING}
    try:
        return allowed[typed.strip().lower().replace("_", "-")]
    except KeyError:
        raise UsageError(f"'{typed}' is not an action: write one of {', '.join(allowed)}") from None


def _text(typed: str, option: str, limit: int) -> str:
    text = typed.strip()
    if not text:
        raise UsageError(f"{option} must say something")
    if len(text) > limit:
        raise UsageError(f"{option} must be at most {limit} characters, is {len(text)}")
    if not text.isprintable():
        raise UsageError(f"{option} must be one line of printable characters")
    return text

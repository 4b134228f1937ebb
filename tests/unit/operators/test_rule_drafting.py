"""What an operator types becomes a rule, or a sentence that says what is wrong."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.events.rule_table import MAX_ACTIVE_RULES
from shared.events.rules import Match, RuleAction
from tests.support.sample_rules import sample_rule
from worker.operators.exit_codes import UsageError
from worker.operators.rules.drafting import RuleOptions, check_beside, drafted, lever
from worker.operators.rules.listing import state_of

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
USUAL: dict[str, Any] = {"action": "hold", "event_name": "order_paid", "why": "INC-12"}


def rule_of(**given: Any) -> Any:
    return drafted(RuleOptions(**USUAL | given), by="alice", now=NOW)


@pytest.mark.parametrize("typed", ["store-only", "store_only", " STORE-ONLY "])
def test_an_action_may_be_typed_in_several_ways(typed: str) -> None:
    assert rule_of(action=typed).action is RuleAction.STORE_ONLY


def test_a_rule_has_what_was_typed_trimmed_and_its_end() -> None:
    rule = rule_of(event_name=" order_paid ", caller="a@example.com", why=" INC-12 ", lasts="2h")
    assert rule.match == Match(event_name="order_paid", caller="a@example.com")
    assert (rule.why, rule.created_by, rule.created_at) == ("INC-12", "alice", NOW)
    assert rule.expires_at == NOW + timedelta(hours=2)
    assert rule_of().expires_at == NOW + timedelta(days=1)
    assert rule_of().rule_id != rule_of().rule_id


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"action": "delete"}, "'delete' is not an action: write one of refuse, store-only, hold, dead-letter"),
        ({"action": "pause"}, "is not an action"),
        ({"event_name": None}, "say which events: give at least one of --event-name, --name-prefix"),
        ({"event_name": "  "}, "--event-name must say something"),
        ({"name_prefix": ""}, "--name-prefix must say something"),
        ({"name_prefix": "order_"}, "give either --event-name or --name-prefix"),
        ({"event_name": "x" * 257}, "--event-name must be at most 256 characters, is 257"),
        ({"event_type": "x" * 129}, "--event-type must be at most 128 characters"),
        ({"caller": "a\nb"}, "--caller must be one line of printable characters"),
        ({"why": " "}, "--why must say something"),
        ({"why": "x" * 151}, "--why must be at most 150 characters"),
        ({"lasts": "soon"}, "'soon' is not an age"),
        ({"lasts": "0s"}, "a rule lasts at most 365d, and at least 1s"),
        ({"lasts": "366d"}, "a rule lasts at most 365d"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        rule_of(**given)
    assert says in str(refused.value)


def test_the_same_rule_is_not_made_twice_nor_more_than_every_event_can_be_compared_with() -> None:
    rule = rule_of()
    other = replace(rule, rule_id="0badcafe", why="earlier")
    with pytest.raises(UsageError, match="rule 0badcafe does the same already"):
        check_beside(rule, [other])
    check_beside(rule, [replace(other, action=RuleAction.REFUSE)])
    check_beside(rule, [replace(other, match=Match(caller="a@example.com"))])
    many = [sample_rule(match=Match(event_name=f"e{number}")) for number in range(MAX_ACTIVE_RULES)]
    with pytest.raises(UsageError, match="200 rules are active, the most there may be"):
        check_beside(rule, many)


def test_a_lever_is_for_everything() -> None:
    rule = lever(RuleAction.PAUSE, why="maintenance", lasts="1h", by="alice", now=NOW)
    assert (rule.action, rule.match, rule.expires_at) == (RuleAction.PAUSE, Match(), NOW + timedelta(hours=1))


def test_what_became_of_a_rule_is_told() -> None:
    rule = sample_rule(now=NOW)
    removed = replace(rule, removed_at=NOW + timedelta(minutes=5), removed_by="bob")
    later = NOW + timedelta(hours=3)
    assert state_of(rule, NOW + timedelta(minutes=30)) == "for another 30m"
    assert state_of(removed, later) == "removed 2026-03-04 05:11:07Z by bob; its events are being published again"
    assert state_of(replace(removed, swept_at=later), later) == "removed 2026-03-04 05:11:07Z by bob"
    assert state_of(replace(rule, action=RuleAction.REFUSE), later) == "expired 2026-03-04 06:06:07Z"

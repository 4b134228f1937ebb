"""Which events a rule takes, when it is active, and when its events are published again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.events.rules import NO_RULES, Match, RuleAction, RuleSet
from tests.support.sample_events import sample_event
from tests.support.sample_rules import sample_rule

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
EVENT = sample_event("order_paid", event_type="billing", caller="batch@example.com")


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [
        ({"event_name": "order_paid"}, True),
        ({"event_name": "order_pai"}, False),
        ({"event_name": "Order_paid"}, False),
        ({"name_prefix": "order_"}, True),
        ({"name_prefix": "order_paid"}, True),
        ({"name_prefix": "order_paid_"}, False),
        ({"event_type": "billing"}, True),
        ({"event_type": "other"}, False),
        ({"caller": "batch@example.com"}, True),
        ({"caller": "example.com"}, False),
        ({"event_name": "order_paid", "caller": "other@example.com"}, False),
        ({"name_prefix": "order_", "event_type": "billing", "caller": "batch@example.com"}, True),
        ({}, True),
    ],
)
def test_an_event_matches_if_it_has_every_value_that_is_set(given: dict[str, Any], is_taken: bool) -> None:
    assert Match(**given).takes(EVENT) is is_taken


@pytest.mark.parametrize("given", [{"event_type": "billing"}, {"caller": "batch@example.com"}])
def test_an_event_without_a_value_does_not_match_one(given: dict[str, str]) -> None:
    assert not Match(**given).takes(sample_event(event_type=None, caller=None))


def test_the_oldest_rule_of_an_action_that_takes_the_event_decides() -> None:
    rules = [
        sample_rule(RuleAction.HOLD, now=NOW, match=Match(event_name="other")),
        sample_rule(RuleAction.HOLD, now=NOW - timedelta(hours=1), why="older"),
        sample_rule(RuleAction.HOLD, now=NOW - timedelta(hours=1, seconds=1), match=Match(event_name="other")),
        sample_rule(RuleAction.REFUSE, now=NOW - timedelta(hours=2)),
        sample_rule(RuleAction.HOLD, now=NOW, why="newer"),
    ]
    found = RuleSet(rules).first(RuleAction.HOLD, EVENT)
    assert found is not None
    assert found.why == "older"
    assert RuleSet(rules).first(RuleAction.STORE_ONLY, EVENT) is None
    assert NO_RULES.is_empty
    assert not RuleSet(rules).is_empty


def test_a_rule_ends_when_it_expires_or_is_removed_whichever_is_first() -> None:
    rule = sample_rule(now=NOW)
    assert rule.is_active(NOW)
    assert rule.is_active(rule.expires_at - timedelta(microseconds=1))
    assert not rule.is_active(rule.expires_at)
    removed = sample_rule(now=NOW, removed_at=NOW + timedelta(minutes=1))
    assert not removed.is_active(NOW + timedelta(minutes=1))
    late = sample_rule(now=NOW, removed_at=NOW + timedelta(hours=2))
    assert not late.is_active(late.expires_at)


def test_held_events_are_swept_after_the_end_and_those_to_dead_letter_from_the_beginning() -> None:
    held = sample_rule(RuleAction.HOLD, now=NOW, removed_at=NOW + timedelta(minutes=5))
    assert held.sweep_at == NOW + timedelta(minutes=5)
    assert sample_rule(RuleAction.DEAD_LETTER, now=NOW).sweep_at == NOW
    others = set(RuleAction) - {RuleAction.HOLD, RuleAction.DEAD_LETTER}
    assert {sample_rule(action, now=NOW).sweep_at for action in others} == {None}


def test_a_match_is_told_in_words() -> None:
    match = Match(name_prefix="order_", caller="a@example.com")
    assert str(match) == "event names beginning with order_, caller a@example.com"
    assert str(Match()) == "everything"

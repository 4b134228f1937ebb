"""Rules on new events: refused, or stored without being forwarded."""

from dataclasses import replace

import pytest

from ingress import error_codes
from ingress.rules import STORED_ONLY, ruled
from shared.errors import RefusedByRuleError
from shared.events.rules import NO_RULES, Match, RuleAction, RuleSet
from tests.support.sample_events import sample_row
from tests.support.sample_rules import sample_rule
from worker.operators.rules.drafting import MAX_WHY

ROW = sample_row()


def test_without_rules_an_event_is_as_it_was() -> None:
    assert ruled(ROW, NO_RULES) == (ROW, ())


def test_a_refused_event_says_which_rule_and_why() -> None:
    rule = sample_rule(RuleAction.REFUSE, why="use orders-v2")
    with pytest.raises(RefusedByRuleError, match=f"rule {rule.rule_id} of an operator refuses this event: use orders"):
        ruled(ROW, RuleSet([rule]))


def test_the_longest_reason_is_told_whole() -> None:
    rule = sample_rule(RuleAction.REFUSE, why="x" * MAX_WHY)
    with pytest.raises(RefusedByRuleError) as refused:
        ruled(ROW, RuleSet([rule]))
    assert error_codes.message_for(refused.value, "r").endswith(rule.why)


def test_an_event_that_is_stored_only_is_not_forwarded_and_warned_about() -> None:
    rule = sample_rule(RuleAction.STORE_ONLY, why="not for Statsig")
    row, (warning,) = ruled(ROW, RuleSet([rule]))
    assert row == replace(ROW, forward_to_statsig=False)
    assert (warning.field, warning.reason) == ("forward_to_statsig", STORED_ONLY)
    assert rule.rule_id in warning.description
    assert warning.description.endswith("not for Statsig")


def test_an_event_that_was_not_to_be_forwarded_has_no_warning() -> None:
    row = sample_row(forward=False)
    assert ruled(row, RuleSet([sample_rule(RuleAction.STORE_ONLY)])) == (row, ())


def test_refusing_comes_before_storing() -> None:
    rules = [sample_rule(RuleAction.STORE_ONLY), sample_rule(RuleAction.REFUSE)]
    with pytest.raises(RefusedByRuleError):
        ruled(ROW, RuleSet(rules))


@pytest.mark.parametrize("action", [RuleAction.HOLD, RuleAction.DEAD_LETTER, RuleAction.PAUSE, RuleAction.PROBE])
def test_rules_of_the_worker_change_nothing_here(action: RuleAction) -> None:
    assert ruled(ROW, RuleSet([sample_rule(action, match=Match())])) == (ROW, ())


@pytest.mark.parametrize("action", [RuleAction.REFUSE, RuleAction.STORE_ONLY])
def test_other_events_pass(action: RuleAction) -> None:
    rules = RuleSet([sample_rule(action, match=Match(event_name="other"))])
    assert ruled(ROW, rules) == (ROW, ())

"""The stand-in's random behaviour: how often it accepts, and that every behaviour occurs."""

import json
import random
from collections import Counter

import pytest

from deploy.local.statsig_stand_in.behaviours import Behaviour, Drip, Hang, Reset, Status
from deploy.local.statsig_stand_in.chance import STATUSES, Chance
from deploy.local.statsig_stand_in.rules import Rule, RuleBook

REQUESTS = 20_000

SURELY_NOT_KEPT = {302, 400, 401, 403, 404, 405, 413, 422, 429}
"""Written down once more: what the worker concludes something from."""


@pytest.fixture(scope="module")
def drawn() -> list[Behaviour]:
    chance, source = Chance(accepts_share=0.5, longest_delay_seconds=1.5), random.Random(1)
    return [chance.drawn(source) for _ in range(REQUESTS)]


def says_yes(answer: Status) -> bool:
    try:
        body = json.loads(answer.body or "")
    except ValueError:
        return False
    return 200 <= answer.status < 300 and body == {"success": True} and not answer.breaks_off


def test_an_answer_that_is_certain_never_lies(drawn: list[Behaviour]) -> None:
    answers = [behaviour for behaviour in drawn if isinstance(behaviour, Status) and behaviour.body is not None]

    assert all(answer.accepts for answer in answers if says_yes(answer))
    assert not any(answer.accepts for answer in answers if answer.status in SURELY_NOT_KEPT)
    assert not any(behaviour.accepts for behaviour in drawn if isinstance(behaviour, Reset) and _is_early(behaviour))


def _is_early(behaviour: Reset) -> bool:
    return behaviour.when == "before_read"


def test_whatever_else_it_does_it_may_have_kept_the_events_or_not(drawn: list[Behaviour]) -> None:
    unknown = Counter(
        (type(each).__name__, each.status if isinstance(each, Status) else 0, each.accepts)
        for each in drawn
        if not isinstance(each, Drip)
        and not (isinstance(each, Status) and (each.body is None or says_yes(each) or each.status in SURELY_NOT_KEPT))
    )

    kinds = {("Hang", 0), ("Reset", 0), *(("Status", status) for status in set(STATUSES) - SURELY_NOT_KEPT)}
    assert {key[:2] for key in unknown} == kinds
    assert all(unknown[*kind, True] and unknown[*kind, False] for kind in kinds)


def test_it_does_everything_and_accepts_as_often_as_told(drawn: list[Behaviour]) -> None:
    statuses = {each.status for each in drawn if isinstance(each, Status)}
    kinds = {type(each) for each in drawn}
    usual = sum(isinstance(each, Status) and each.body is None for each in drawn)

    assert statuses == set(STATUSES)
    assert kinds == {Status, Hang, Reset, Drip}
    assert usual == pytest.approx(REQUESTS / 2, rel=0.05)
    answers = [each for each in drawn if isinstance(each, Status)]
    assert {each.headers.get("Retry-After") for each in answers if each.status == 429} == {None, "0", "1", "2"}
    assert 1.3 < max(each.delay_seconds for each in answers) <= 1.5
    assert any(each.breaks_off for each in answers)


def test_a_seed_repeats_itself_whatever_the_rules_around_it_draw() -> None:
    def sequence(seed: int, *others: dict[str, object]) -> list[Behaviour]:
        book = RuleBook()
        rule = {"behaviour": {"kind": "random", "accepts_share": 0.3, "seed": seed}}
        book.replace([Rule.model_validate(each) for each in (*others, rule)])
        return [book.turn().decide([]) for _ in range(50)]

    never = {"behaviour": {"kind": "hang"}, "probability": 0.5, "events": {"share": 0.1}}
    assert sequence(1) == sequence(1) == sequence(1, never)
    assert sequence(1) != sequence(2)

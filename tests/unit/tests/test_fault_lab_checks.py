"""The fault lab's checks of poisoned events: each breach is found, and none where there is none."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from deploy.local.statsig_stand_in import LoggedEvent, LoggedRequest
from tests.faults.adversary import Plan
from tests.faults.checker import check
from tests.faults.client import OK, Attempt
from tests.faults.evidence import Evidence, FoundDeadLetter, StoredEvent
from tests.faults.row import Expectations, Poisoned, Row
from tests.faults.verdict import Run

GOOD, BAD = "good", "bad"


async def no_fault(_: object) -> None:
    return


def row(**expect: Any) -> Row:
    defaults: dict[str, Any] = {"reasons": frozenset({"http_400", "exhausted"}), "requests_each": 3}
    expectations = Expectations(
        poisoned=Poisoned(**defaults | expect), duplicates_per_incident=None, delivered_within_seconds=10
    )
    rule = {"behaviour": {"kind": "hang"}, "events": {"name_contains": BAD}}
    return Row(id="T1", title="", fault=no_fault, lasting=lambda _: (rule,), expect=expectations)


def stored(event_id: str, state: str, *, possible_duplicates: int = 0) -> StoredEvent:
    name = event_id.partition("-")[0]
    return StoredEvent(event_id, event_id, True, state, possible_duplicates, name, None, 0, 0, ())


def sent(event_id: str, at: float = 100.0) -> Attempt:
    return Attempt(event_id, 1, at, at + 0.1, 5.0, OK, event_id, duplicate=False, answered=True)


def copy(event_id: str, at: float = 101.0) -> LoggedEvent:
    return LoggedEvent(at, 1, {"metadata": {"event_id": event_id}})


def requested(did: str, *event_ids: str) -> LoggedRequest:
    return LoggedRequest(101.0, 1, list(event_ids), did, kept=False)


def breaches(evidence: Evidence, row_: Row | None = None, attempts: Sequence[Attempt] | None = None) -> tuple[str, ...]:
    run = Run(fault_at=100.0, healed_at=110.0, drain_seconds=0, incidents=0, memory_growth_mib=0, peak_mib={})
    calls = [sent(event_id) for event_id in evidence.stored] if attempts is None else attempts
    return check(row_ or row(), 1, calls, evidence, run).breaches


def evidence(*events: StoredEvent, **more: Any) -> Evidence:
    return Evidence({event.event_id: event for event in events}, **more)


def as_it_should_be(**more: Any) -> Evidence:
    return evidence(
        stored("good-1", "DELIVERED"),
        stored("bad-1", "DEAD"),
        **{
            "received": [copy("good-1")],
            "dead_letters": [FoundDeadLetter("m-1", "bad-1", "http_400", b"")],
            "requests": [
                requested("answering 400", "good-1", "bad-1"),
                requested("answering 202", "good-1"),
                requested("answering 400", "bad-1"),
            ],
        }
        | more,
    )


def test_what_is_as_it_should_be_is_no_breach() -> None:
    assert breaches(as_it_should_be()) == ()


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"received": [copy("good-1", at=111.0)]}, "1 events came to Statsig up to 11.0 s after its call"),
        ({"received": [copy("good-1"), copy("good-1")]}, "copies that the ledger does not count"),
        ({"dead_letters": [FoundDeadLetter("m-1", "bad-1", "http_500", b"")]}, "dead letters of poisoned events"),
        ({"dead_letters": []}, "1 lost"),
        ({"requests": [requested("answering 400", "good-1", "bad-1")]}, "no request that carried them alone"),
        ({"requests": [requested("answering 400", "bad-1")] * 4}, "carried by 4 requests, 3 allowed"),
    ],
)
def test_each_breach_is_seen(more: dict[str, Any], problem: str) -> None:
    found = breaches(as_it_should_be(**more))

    assert any(problem in breach for breach in found), found


def test_a_dead_letter_for_exhaustion_needs_as_many_trials_as_the_settings_say() -> None:
    letters = [FoundDeadLetter("m-1", "bad-1", "exhausted", b"")]
    trials = [requested("never answering", "bad-1")] * 3

    assert breaches(as_it_should_be(dead_letters=letters, requests=trials)) == ()
    (breach,) = breaches(as_it_should_be(dead_letters=letters, requests=trials[:2]))
    assert "no request that carried them alone" in breach


def test_a_poisoned_event_may_be_pending_only_where_the_row_says_so() -> None:
    left = evidence(stored("good-1", "DELIVERED"), stored("bad-1", "PENDING"), received=[copy("good-1")])

    assert breaches(left, row(may_stay_pending=True)) == ()
    assert any("still pending" in breach for breach in breaches(left))


def test_good_events_that_die_and_poisoned_ones_that_are_delivered_are_breaches() -> None:
    died = evidence(
        stored("good-1", "DEAD"),
        stored("bad-1", "DELIVERED"),
        received=[copy("bad-1")],
        dead_letters=[FoundDeadLetter("m-1", "good-1", "http_400", b"")],
        requests=[requested("answering 400", "good-1")],
    )

    assert [breach.split(":")[0] for breach in breaches(died)] == [
        "1 poisoned events are DELIVERED, which Statsig never said",
        "1 others are dead letters, 0 allowed",
    ]
    assert breaches(died, row(others_may_die=lambda events: events // 2))[1:] == ()


def test_what_statsig_kept_without_saying_so_may_be_dead() -> None:
    kept = as_it_should_be(received=[copy("good-1"), copy("bad-1")])
    kept.stored["bad-1"] = stored("bad-1", "DEAD", possible_duplicates=1)

    # The sample's history is empty, which is told too.
    assert all("history" in breach for breach in breaches(kept))
    kept.stored["bad-1"] = stored("bad-1", "DEAD")
    assert any("not DELIVERED in the ledger" in breach for breach in breaches(kept))


def test_a_seed_draws_the_same_plan_again() -> None:
    plans = [Plan.of(seed, workers=2) for seed in range(1, 21)]

    assert plans == [Plan.of(seed, workers=2) for seed in range(1, 21)]
    assert len({str(plan) for plan in plans}) == 20
    assert {act.process for plan in plans for act in plan.acts} == {"ingress", "worker-1", "worker-2"}
    assert {act.what for plan in plans for act in plan.acts} == {"kill", "stop"}
    kinds = {rule["behaviour"].get("status", rule["behaviour"]["kind"]) for plan in plans for rule in plan.poison}
    assert kinds == {400, 413, 422, 403, 404, 409, 500, 503, "reset", "hang"}


def test_what_a_rule_dead_letters_is_a_breach_unless_the_row_has_a_rule_for_its_name() -> None:
    by_rule = as_it_should_be(
        received=[],
        dead_letters=[FoundDeadLetter("m-1", "bad-1", "http_400", b""), FoundDeadLetter("m-2", "good-1", "rule", b"")],
    )
    by_rule.stored["good-1"] = stored("good-1", "DEAD")

    assert breaches(by_rule, row(dead_by_rule=frozenset({GOOD}))) == ()
    (breach,) = breaches(by_rule)
    assert "1 are dead letters by a rule that does not take their name" in breach


def test_what_a_rule_stores_only_is_neither_lost_nor_at_statsig_and_its_answer_says_so() -> None:
    def left(*received: LoggedEvent) -> Evidence:
        found = as_it_should_be(received=[copy("good-1"), *received])
        found.stored["good-2"] = replace(stored("good-2", "PENDING"), forwarded=False, state=None)
        return found

    calls = [sent("good-1"), sent("bad-1"), replace(sent("good-2"), is_stored_only=True)]
    assert breaches(left(), attempts=calls) == ()
    assert any("1 lost" in each for each in breaches(left(), attempts=[*calls[:2], sent("good-2")])), (
        "without a warning"
    )
    assert any("stored only and at Statsig" in each for each in breaches(left(copy("good-2")), attempts=calls))

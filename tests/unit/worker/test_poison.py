"""Guilt: who is to blame for a request that failed, an event or the destination."""

import pytest

from shared.events.forward_ledger import ClaimOutcome, ClaimResult
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.scripted_forwarder import REFUSED, REJECTED, SERVER_ERROR, TIMED_OUT, UNAVAILABLE, UNREACHABLE
from worker.attempts import BatchAttempts, EventAttempts
from worker.circuit import FAILURES_TO_OPEN, SILENCE_SECONDS, Circuit
from worker.poison import (
    ALLOWANCE,
    CHANCE_SECONDS,
    EXHAUSTED,
    NAMES_REMEMBERED,
    NOTORIOUS_AT,
    PoisonDetector,
    Suspicion,
    reason_of,
)
from worker.statsig.outcome import NOT_SERIALIZABLE, SendOutcome, SendVerdict

ATTEMPTS = 3
LIMITED = SendOutcome(SendVerdict.TRANSIENT, 429, "http_429")
CONFLICT = SendOutcome(SendVerdict.AMBIGUOUS, 409, "http_409")
SERIOUS = [REFUSED, SERVER_ERROR, TIMED_OUT, CONFLICT]
"""Failures alone that count against an event, if not at once."""


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.circuit = Circuit(self.clock, probe_seconds=5)
        self.poison = PoisonDetector(self.circuit, self.clock, suspect_attempts=ATTEMPTS)

    def failed(self, outcome: SendOutcome, *, alone: bool = True, failures: int = 0) -> EventAttempts:
        """An event whose last request began now and failed."""
        entry = ClaimResult("e", ClaimOutcome.CLAIMED, alone_failures=failures)
        event = BatchAttempts.starting_from([entry]).of["e"]
        event.outcome = outcome
        event.failed_alone_at = self.clock.monotonic() if alone else None
        self.clock.advance(1)
        return event

    def others_are_confirmed(self) -> None:
        self.circuit.confirmed()
        self.clock.advance(1)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("outcome", [REJECTED, UNREACHABLE, LIMITED, *SERIOUS], ids=lambda each: each.reason)
def test_of_an_event_that_did_not_fail_alone_nothing_is_known(world: World, outcome: SendOutcome) -> None:
    event = world.failed(outcome, alone=False, failures=ATTEMPTS)
    world.others_are_confirmed()

    assert world.poison.judge(event) is Suspicion.UNDECIDED
    assert event.alone_failures == ATTEMPTS


def test_an_event_without_a_json_form_is_guilty_whatever_else_is_known(world: World) -> None:
    event = world.failed(NOT_SERIALIZABLE, alone=False)

    assert world.poison.judge(event) is Suspicion.POISON


def test_a_rejection_alone_while_others_are_confirmed_is_guilt(world: World) -> None:
    event = world.failed(REJECTED)
    world.others_are_confirmed()

    assert world.poison.judge(event) is Suspicion.POISON
    assert event.alone_failures == 1


@pytest.mark.parametrize("outcome", SERIOUS, ids=lambda each: each.reason)
def test_any_other_failure_alone_while_others_are_confirmed_makes_a_suspect_and_in_the_end_guilt(
    world: World, outcome: SendOutcome
) -> None:
    rulings = []
    for failures in range(ATTEMPTS):
        event = world.failed(outcome, failures=failures)
        world.others_are_confirmed()
        rulings.append(world.poison.judge(event))
        assert event.alone_failures == failures + 1

    assert rulings == [Suspicion.SUSPECT, Suspicion.SUSPECT, Suspicion.POISON]


def failures_until_guilt(world: World) -> int:
    """How often an event fails alone, while others are confirmed, until it is at fault."""
    for failures in range(10 * ATTEMPTS):
        event = world.failed(SERVER_ERROR, failures=failures)
        world.others_are_confirmed()
        if world.poison.judge(event) is Suspicion.POISON:
            return event.alone_failures
    raise AssertionError("never at fault")


def test_where_good_events_fail_alone_too_an_event_must_fail_that_many_times_more(world: World) -> None:
    world.poison.confirmed("good", 2)
    world.poison.confirmed("good", 1)
    world.poison.confirmed("good")

    assert failures_until_guilt(world) == ATTEMPTS + 2


def test_whatever_good_events_do_twice_the_usual_failures_are_guilt(world: World) -> None:
    world.poison.confirmed("good", 50 * ATTEMPTS)

    assert failures_until_guilt(world) == 2 * ATTEMPTS


def test_what_chance_did_is_forgotten(world: World) -> None:
    world.poison.confirmed("good", 2)
    world.clock.advance(CHANCE_SECONDS)
    world.poison.confirmed("good", 1)  # the latest counts now, although it is smaller

    assert failures_until_guilt(world) == ATTEMPTS + 1


@pytest.mark.parametrize("outcome", [LIMITED, UNREACHABLE], ids=lambda each: each.reason)
def test_what_says_nothing_of_the_event_never_counts_against_it(world: World, outcome: SendOutcome) -> None:
    event = world.failed(outcome, failures=ATTEMPTS - 1)
    world.others_are_confirmed()

    assert world.poison.judge(event) is not Suspicion.POISON
    assert event.alone_failures == ATTEMPTS - 1


@pytest.mark.parametrize("outcome", SERIOUS, ids=lambda each: each.reason)
def test_while_nothing_is_confirmed_no_failure_counts_against_an_event(world: World, outcome: SendOutcome) -> None:
    world.others_are_confirmed()  # before its request began
    event = world.failed(outcome, failures=ATTEMPTS)

    assert world.poison.judge(event) is Suspicion.UNDECIDED
    assert event.alone_failures == ATTEMPTS


@pytest.mark.parametrize("outcome", SERIOUS, ids=lambda each: each.reason)
def test_nothing_is_learned_of_a_suspect_while_nothing_is_confirmed(world: World, outcome: SendOutcome) -> None:
    world.others_are_confirmed()
    failed_before = world.clock.monotonic()
    world.clock.advance(1)
    event = world.failed(outcome, failures=ATTEMPTS)
    event.failing_since = failed_before

    assert world.poison.judge(event) is Suspicion.UNDECIDED
    assert event.alone_failures == ATTEMPTS


@pytest.mark.parametrize("outcome", SERIOUS, ids=lambda each: each.reason)
def test_while_the_circuit_is_open_no_failure_counts(world: World, outcome: SendOutcome) -> None:
    event = world.failed(outcome, failures=ATTEMPTS)
    world.others_are_confirmed()
    world.clock.advance(SILENCE_SECONDS)
    for _ in range(FAILURES_TO_OPEN):
        world.circuit.failed("http_503")

    assert world.poison.judge(event) is Suspicion.UNDECIDED
    assert event.alone_failures == ATTEMPTS


def test_a_rejection_takes_a_confirmation_after_it_or_one_of_a_few(world: World) -> None:
    """Suspects wait when everything begins to be rejected: what was confirmed before says nothing."""
    failed_before = world.clock.monotonic()
    world.others_are_confirmed()
    rulings = []
    for _ in range(ALLOWANCE + 5):
        event = world.failed(REJECTED)
        event.failing_since = failed_before
        rulings.append(world.poison.judge(event))

    assert rulings == [Suspicion.POISON] * ALLOWANCE + [Suspicion.SUSPECT] * 5


@pytest.mark.parametrize("outcome", SERIOUS, ids=lambda each: each.reason)
def test_to_a_trial_others_that_were_confirmed_since_it_failed_before_count(world: World, outcome: SendOutcome) -> None:
    failed_before = world.clock.monotonic()
    world.others_are_confirmed()
    event = world.failed(outcome, failures=ATTEMPTS - 1)
    event.failing_since = failed_before

    assert world.poison.judge(event) is Suspicion.POISON
    assert event.alone_failures == ATTEMPTS


def test_a_few_rejections_are_guilt_although_nothing_is_confirmed(world: World) -> None:
    rulings = [world.poison.judge(world.failed(REJECTED)) for _ in range(ALLOWANCE + 5)]

    assert rulings == [Suspicion.POISON] * ALLOWANCE + [Suspicion.SUSPECT] * 5


def test_time_alone_gives_no_new_allowance(world: World) -> None:
    for _ in range(ALLOWANCE):
        world.poison.judge(world.failed(REJECTED))
    world.clock.advance(1e6)

    assert world.poison.judge(world.failed(REJECTED)) is Suspicion.SUSPECT


def test_a_confirmation_gives_a_new_allowance(world: World) -> None:
    for _ in range(ALLOWANCE + 1):
        world.poison.judge(world.failed(REJECTED))
    world.others_are_confirmed()

    rulings = [world.poison.judge(world.failed(REJECTED)) for _ in range(ALLOWANCE + 1)]

    assert rulings == [Suspicion.POISON] * ALLOWANCE + [Suspicion.SUSPECT]


def test_rejections_beside_confirmations_use_no_allowance(world: World) -> None:
    for _ in range(3 * ALLOWANCE):
        event = world.failed(REJECTED)
        world.others_are_confirmed()
        assert world.poison.judge(event) is Suspicion.POISON

    assert world.poison.judge(world.failed(REJECTED)) is Suspicion.POISON


def test_a_suspect_that_was_rejected_beyond_the_allowance_has_no_failure_counted(world: World) -> None:
    for _ in range(ALLOWANCE):
        world.poison.judge(world.failed(REJECTED))
    event = world.failed(REJECTED)

    assert world.poison.judge(event) is Suspicion.SUSPECT
    assert event.alone_failures == 0


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (REJECTED, "http_400"),
        (NOT_SERIALIZABLE, "not_serializable"),
        (REFUSED, "http_401"),
        (CONFLICT, "http_409"),
        (SendOutcome(SendVerdict.AMBIGUOUS, 408, "http_408"), "http_408"),
        (UNAVAILABLE, EXHAUSTED),
        (SERVER_ERROR, EXHAUSTED),
        (TIMED_OUT, EXHAUSTED),
        (SendOutcome(SendVerdict.REFUSED, 301, "redirect"), EXHAUSTED),
    ],
    ids=lambda each: each if isinstance(each, str) else each.reason,
)
def test_the_reason_of_a_dead_letter_is_what_statsig_found_wrong_with_the_event(
    world: World, outcome: SendOutcome, reason: str
) -> None:
    assert reason_of(world.failed(outcome)) == reason


def test_a_name_whose_events_keep_failing_alone_is_notorious(world: World) -> None:
    for _ in range(NOTORIOUS_AT):
        assert not world.poison.is_notorious("bad")
        world.poison.failed_alone("bad")

    assert world.poison.is_notorious("bad")
    assert not world.poison.is_notorious("good")


def test_one_confirmed_event_restores_the_name(world: World) -> None:
    for _ in range(NOTORIOUS_AT):
        world.poison.failed_alone("bad")
    world.poison.confirmed("good")
    assert world.poison.is_notorious("bad")

    world.poison.confirmed("bad")
    world.poison.failed_alone("bad")

    assert not world.poison.is_notorious("bad")


def test_only_so_many_names_are_remembered_and_those_that_failed_last(world: World) -> None:
    for _ in range(NOTORIOUS_AT):
        world.poison.failed_alone("old")
    for _ in range(NOTORIOUS_AT):
        world.poison.failed_alone("bad")
    for number in range(NAMES_REMEMBERED - 1):
        world.poison.failed_alone(f"name-{number}")

    assert world.poison.is_notorious("bad")
    assert not world.poison.is_notorious("old")

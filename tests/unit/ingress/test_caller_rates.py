"""The rate limit of a caller's events, where one is set."""

from hypothesis import given
from hypothesis import strategies as st

from ingress.callers.rate_limits import MAX_KEPT_CALLERS, CallerRates
from shared.errors import CallerOverloadedError
from tests.support.fakes.manual_clock import ManualClock


def admitted(rates: CallerRates, caller: str, events: int = 1) -> bool:
    try:
        rates.admit(caller, events)
    except CallerOverloadedError:
        return False
    return True


def test_without_a_limit_everything_is_admitted() -> None:
    rates = CallerRates(None, ManualClock())

    assert all(admitted(rates, "any", 500) for _ in range(10_000))


def test_a_caller_may_log_a_seconds_events_at_once_and_then_as_many_as_time_allows() -> None:
    clock = ManualClock()
    rates = CallerRates(10, clock)
    assert [admitted(rates, "a") for _ in range(11)] == [True] * 10 + [False]

    clock.advance(0.5)
    assert [admitted(rates, "a") for _ in range(6)] == [True] * 5 + [False]


def test_callers_have_a_limit_each() -> None:
    rates = CallerRates(1, ManualClock())
    assert admitted(rates, "a")
    assert not admitted(rates, "a")
    assert admitted(rates, "b")


def test_a_batch_larger_than_the_limit_passes_and_is_paid_for_afterwards() -> None:
    clock = ManualClock()
    rates = CallerRates(100, clock)
    assert admitted(rates, "a", 500)

    clock.advance(3.9)
    assert not admitted(rates, "a")
    clock.advance(0.2)
    assert admitted(rates, "a")


def test_a_limit_below_one_event_a_second_lets_one_pass_now_and_then() -> None:
    clock = ManualClock()
    rates = CallerRates(0.1, clock)
    assert admitted(rates, "a")
    clock.advance(9.0)
    assert not admitted(rates, "a")
    clock.advance(1.1)
    assert admitted(rates, "a")


def test_callers_that_were_quiet_are_forgotten_and_those_that_owe_are_not() -> None:
    clock = ManualClock()
    rates = CallerRates(1, clock)
    assert admitted(rates, "owes", 500)
    for number in range(3 * MAX_KEPT_CALLERS):
        assert admitted(rates, f"once {number}")
        clock.advance(0.001)

    assert len(rates._buckets) <= MAX_KEPT_CALLERS
    assert not admitted(rates, "owes")


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(1, 500))), st.floats(0.5, 1000))
def test_over_any_time_no_more_is_admitted_than_the_rate_a_burst_and_one_call(
    calls: list[tuple[float, int]], rate: float
) -> None:
    clock = ManualClock()
    rates = CallerRates(rate, clock)
    began, total = clock.monotonic(), 0
    for pause, events in calls:
        clock.advance(pause)
        if admitted(rates, "a", events):
            total += events
    assert total <= rate * (clock.monotonic() - began) + max(1.0, rate) + 500

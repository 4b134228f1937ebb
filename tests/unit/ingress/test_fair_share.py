"""How much each caller may hold, and which callers overload a queue."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from ingress.callers.fair_share import FairShare, share_key_of
from shared.errors import CallerOverloadedError, EventLoggingError, OverloadedError
from shared.events.event import ANONYMOUS, Caller, CallerSource

LIMIT: Final = 1200

CALLERS: Final = ("", "flood", "polite", "third")


def refusal(share: FairShare, caller: str, amount: int = 1) -> type[EventLoggingError] | None:
    error = share.refusal(caller, amount, own="own", whole="whole")
    return None if error is None else type(error)


def fill(share: FairShare, *callers: str) -> dict[str, int]:
    """In turn, one at a time, until none of them may take more; what each then holds."""
    held = dict.fromkeys(callers, 0)
    while any(share.has_room(caller, 1) for caller in callers):
        for caller in callers:
            if share.has_room(caller, 1):
                share.take(caller, 1)
                held[caller] += 1
    return held


def test_one_caller_alone_fills_half() -> None:
    assert fill(FairShare(LIMIT), "flood") == {"flood": LIMIT // 2}


def test_callers_that_want_more_than_there_is_get_equal_parts_and_leave_one() -> None:
    assert fill(FairShare(LIMIT), "a", "b", "c") == dict.fromkeys("abc", LIMIT // 4)


def test_who_comes_while_another_has_filled_its_share_finds_half_of_what_is_left() -> None:
    share = FairShare(LIMIT)
    fill(share, "flood")

    assert fill(share, "polite") == {"polite": LIMIT // 4}


def test_a_caller_that_has_filled_its_share_is_refused_for_its_own_load() -> None:
    share = FairShare(LIMIT)
    fill(share, "flood")

    assert refusal(share, "flood") is CallerOverloadedError
    assert refusal(share, "polite") is None


def test_each_of_many_that_want_too_much_is_refused_for_its_own_load() -> None:
    share = FairShare(LIMIT)
    fill(share, "a", "b", "c")

    assert {refusal(share, caller) for caller in "abc"} == {CallerOverloadedError}


def test_a_caller_that_holds_nothing_is_never_refused_for_its_own_load() -> None:
    share = FairShare(LIMIT)
    fill(share, "flood")

    assert refusal(share, "polite", LIMIT // 2 + 1) is OverloadedError


def test_a_caller_below_its_part_is_refused_for_the_load_of_those_who_came_first() -> None:
    share = FairShare(LIMIT)
    fill(share, "flood")
    fill(share, "polite")  # a quarter each of what is left: 300 of 1200
    share.take("third", 150)

    assert refusal(share, "third") is OverloadedError


def test_what_comes_alone_is_let_in_however_much_it_is() -> None:
    share = FairShare(LIMIT)
    assert refusal(share, "any", 10 * LIMIT) is None
    share.take("any", 10 * LIMIT)

    assert refusal(share, "any") is CallerOverloadedError
    assert refusal(share, "other") is OverloadedError


def test_what_is_given_back_can_be_taken_again() -> None:
    share = FairShare(LIMIT)
    held = fill(share, "flood")["flood"]
    for _ in range(held):
        share.release("flood", 1)

    assert (share.taken, share.callers) == (0, 0)
    assert fill(share, "flood") == {"flood": held}


@given(st.lists(st.tuples(st.sampled_from(CALLERS), st.integers(1, 400), st.booleans())))
def test_however_callers_take_and_release_none_holds_more_than_was_free(
    steps: list[tuple[str, int, bool]],
) -> None:
    share = FairShare(LIMIT)
    held: dict[str, list[int]] = {caller: [] for caller in CALLERS}
    for caller, amount, gives_back in steps:
        if gives_back and held[caller]:
            share.release(caller, held[caller].pop())
        elif share.has_room(caller, amount):
            free = LIMIT - share.taken
            share.take(caller, amount)
            held[caller].append(amount)
            assert sum(held[caller]) <= free
        else:
            assert refusal(share, caller, amount) in (CallerOverloadedError, OverloadedError)
        assert share.taken == sum(map(sum, held.values())) <= LIMIT
        assert share.callers == sum(1 for amounts in held.values() if amounts)


@given(st.lists(st.integers(1, 400)), st.integers(1, LIMIT // 4))
def test_however_one_caller_floods_another_finds_room(amounts: list[int], polite: int) -> None:
    share = FairShare(LIMIT)
    for amount in amounts:
        if share.has_room("flood", amount):
            share.take("flood", amount)

    # A flood holds at most half and half of its last piece.
    assert share.has_room("polite", min(polite, LIMIT // 2 - 200))


def test_anonymous_callers_share_one_queue_and_others_have_their_own() -> None:
    ann = Caller("ann@example.com", CallerSource.IAP_ASSERTION, subject="1")
    said = Caller("ann@example.com", CallerSource.UNVERIFIED_HEADER)

    assert share_key_of(ANONYMOUS) == ""
    assert share_key_of(ann) == share_key_of(Caller("ann@example.com", CallerSource.IAP_ASSERTION, subject="2"))
    assert len({share_key_of(ANONYMOUS), share_key_of(ann), share_key_of(said)}) == 3

"""Whether a caller has been the only one lately."""

from ingress.callers.recent import RECENT_SECONDS, RecentCallers


def test_a_caller_is_alone_however_often_it_calls() -> None:
    callers = RecentCallers()
    for now in range(5):
        callers.came("flood", now)

    assert not callers.are_several(5)


def test_with_another_one_it_is_not() -> None:
    callers = RecentCallers()
    callers.came("flood", 0)
    callers.came("polite", 1)
    callers.came("flood", 2)

    assert callers.are_several(2)


def test_it_is_alone_again_some_time_after_the_other_one_called_last() -> None:
    callers = RecentCallers()
    callers.came("polite", 0)
    for now in range(1, 100):
        callers.came("flood", now)

    assert callers.are_several(RECENT_SECONDS)
    assert not callers.are_several(1 + RECENT_SECONDS)

"""An error that is kept refers to no frame, so that what its call held is freed without the garbage collector."""

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from ingress.reference_cycles import without_frames


class Body:
    """Something to look for."""


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def refuse(body: Body) -> None:
    held = body
    raise ValueError(type(held).__name__)


def refuse_after_another_failure(body: Body) -> None:
    try:
        refuse(body)
    except ValueError:
        raise KeyError from None


def served(call: Callable[[Body], None], *, lets_go: bool) -> weakref.ref[Body]:
    """As connectrpc does it: the error stays in a variable of a frame that its traceback leads to."""
    body = Body()
    found = weakref.ref(body)
    try:
        call(body)
    except (ValueError, KeyError) as caught:
        error = caught
    del body
    if lets_go:
        without_frames(error)
    return found


@pytest.mark.parametrize("call", [refuse, refuse_after_another_failure])
def test_the_body_of_a_refused_call_is_freed(call: Callable[[Body], None]) -> None:
    assert served(call, lets_go=False)() is not None
    assert served(call, lets_go=True)() is None


def refused_one_by_one(*, lets_go: bool) -> weakref.ref[Body]:
    """As for a LogEvents: the errors are kept in a list of the frame that called what raised them."""
    body = Body()
    found = weakref.ref(body)
    outcomes = [_outcome(body, lets_go=lets_go) for _ in range(2)]
    assert len(outcomes) == 2
    return found


def _outcome(body: Body, *, lets_go: bool) -> ValueError | None:
    try:
        refuse(body)
    except ValueError as error:
        return without_frames(error) if lets_go else error
    return None


def test_a_call_whose_events_were_refused_one_by_one_is_freed() -> None:
    assert refused_one_by_one(lets_go=False)() is not None
    assert refused_one_by_one(lets_go=True)() is None


def test_errors_that_caused_each_other_are_let_go_of_once() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__context__ = second, first

    assert without_frames(first) is first  # and does not go round for ever

"""A failed call keeps no reference to its body."""

import gc
import weakref
from collections.abc import Callable

import pytest

from ingress.http.reference_cycles import break_cycles


class Body:
    """Something to look for."""


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
        break_cycles(error)
    return found


@pytest.mark.parametrize("call", [refuse, refuse_after_another_failure])
def test_the_body_of_a_refused_call_is_freed_without_the_collector(call: Callable[[Body], None]) -> None:
    gc.disable()
    try:
        assert served(call, lets_go=False)() is not None
        assert served(call, lets_go=True)() is None
    finally:
        gc.enable()
        gc.collect()


def test_errors_that_caused_each_other_are_let_go_of_once() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__context__ = second, first

    break_cycles(first)  # and does not go round for ever

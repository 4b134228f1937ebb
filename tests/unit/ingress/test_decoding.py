"""Decoding in slices, within a budget of memory that is released once the call is answered."""

import pytest

from ingress.call_context import begin_call
from ingress.decoding.budgets import DecodingBudget
from ingress.interceptors.decoding import DecodingInterceptor
from shared.errors import EventLoggingError, OverloadedError
from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventsRequest
from tests.support.sample_requests import sample_request
from tests.support.wire.decoding import JSON, LIMITS, CountedTurns, finished


class Calls:
    """Calls of one process with little memory, each as large as the budget."""

    def __init__(self) -> None:
        self.body = JSON.decode(JSON.encode(sample_request({"k": "x" * 10_000})), LogEventRequest)
        self.turns = CountedTurns()
        weight = self.body.format.weight(self.body.data, LIMITS.request_values)
        self._interceptor = DecodingInterceptor(limits=LIMITS, budget=DecodingBudget(weight), turns=self.turns)

    async def call(self, within: "Calls | None" = None, error: Exception | None = None) -> str:
        async def handle(_request: object, _context: object) -> str:
            if within is not None:
                await within.call()
            if error is not None:
                raise error
            return "answered"

        begin_call()
        return await self._interceptor.intercept_unary(handle, self.body, None)  # type: ignore[arg-type]


def test_what_is_decoded_takes_memory_while_its_call_is_handled_and_not_longer() -> None:
    calls = Calls()

    for _ in range(3):
        assert finished(calls.call()) == "answered"
    with pytest.raises(OverloadedError):
        finished(calls.call(within=calls))
    assert finished(calls.call()) == "answered"


def test_memory_is_given_back_where_a_call_fails() -> None:
    calls = Calls()
    with pytest.raises(ValueError, match="a bug"):
        finished(calls.call(error=ValueError("a bug")))

    assert finished(calls.call()) == "answered"


def test_memory_is_given_back_where_a_body_does_not_decode() -> None:
    calls = Calls()
    good, calls.body = calls.body, JSON.decode(b'{"event_name":', LogEventRequest)
    with pytest.raises(EventLoggingError):
        finished(calls.call())

    calls.body = good
    assert finished(calls.call()) == "answered"


def test_a_lone_event_takes_one_turn_and_many_dense_ones_take_more() -> None:
    calls = Calls()
    finished(calls.call())
    assert calls.turns.count == 1

    events = [sample_request({f"k{key}": [1] * 15 for key in range(90)})] * 60
    calls.body = JSON.decode(JSON.encode(LogEventsRequest(events=events)), LogEventsRequest)
    finished(calls.call())
    assert calls.turns.count > 3

"""What a body will take once it is decoded, and how much of that at once."""

import tracemalloc
from typing import Any

import pytest
from protobuf.wkt import Struct

from ingress.admission import DecodingBudget, admit, binary_weight, json_weight, row_weight
from shared.errors import OverloadedError
from shared.gen.events.v1.event_logging_pb import LogEventRequest

DENSE: dict[str, Any] = {
    "numbers": [1.0] * 20_000,
    "empty objects": [{}] * 20_000,
    "empty lists": [[]] * 20_000,
    "short texts": ["a"] * 20_000,
    "many keys": [{"a": 1, "b": True} for _ in range(10_000)],
    "nulls": [None] * 20_000,
    "one long text": "x" * 500_000,
}


def decoded_bytes(data: bytes, *, binary: bool) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        message = LogEventRequest.from_binary(data) if binary else LogEventRequest.from_json(data)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert message.event_name
    return taken


@pytest.mark.parametrize("what", DENSE)
@pytest.mark.parametrize("binary", [False, True])
def test_no_body_takes_much_more_than_it_is_reckoned_at(what: str, binary: bool) -> None:
    request = LogEventRequest(event_name="e", metadata=Struct.from_python({"a": DENSE[what]}))
    data = request.to_binary() if binary else request.to_json().replace(" ", "").encode()

    weight = binary_weight(data) if binary else json_weight(data)

    assert decoded_bytes(data, binary=binary) < 1.5 * weight + 100_000
    if what == "one long text":
        assert weight <= (24 if binary else 2) * len(data)


def test_a_row_of_many_values_weighs_more_than_its_text() -> None:
    assert row_weight("[" + "{}," * 999 + "{}]") > 20 * 3000
    assert row_weight('{"a":"' + "x" * 1000 + '"}') < 1200


def test_what_is_taken_at_once_is_limited_and_given_back_at_the_end() -> None:
    budget = DecodingBudget(100)
    with budget.call():
        admit(60)
        with budget.call():
            admit(40)
            with budget.call(), pytest.raises(OverloadedError):
                admit(1)
        with budget.call():
            admit(40)
    with budget.call():
        admit(100)


def test_what_fails_is_given_back_too() -> None:
    budget = DecodingBudget(100)

    def crash() -> None:
        with budget.call():
            admit(100)
            raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        crash()

    with budget.call():
        admit(100)


def test_a_body_alone_is_let_in_whatever_it_weighs() -> None:
    with DecodingBudget(100).call():
        admit(10_000)

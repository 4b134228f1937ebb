"""The decoding budget: what a body weighs once it is decoded, and how much may be decoded at once."""

import tracemalloc
from typing import Any

import pytest
from protobuf.wkt import Struct

from ingress.decoding.budgets import DecodingBudget, row_weight
from shared.errors import CallerOverloadedError, OverloadedError
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.support.wire.decoding import BINARY, JSON, decode_event

DENSE: dict[str, Any] = {
    "numbers": [1.0] * 20_000,
    "empty objects": [{}] * 20_000,
    "empty lists": [[]] * 20_000,
    "short texts": ["a"] * 15_000,
    "many keys": [{"a": 1, "b": True} for _ in range(5_000)],
    "nulls": [None] * 20_000,
    "one long text": "x" * 500_000,
}
MANY_VALUES = 100_000


@pytest.mark.parametrize("what", DENSE)
@pytest.mark.parametrize("codec", [JSON, BINARY], ids=["json", "binary"])
def test_no_body_takes_much_more_than_it_is_reckoned_at(what: str, codec: Any) -> None:
    data = codec.encode(LogEventRequest(event_name="e", metadata=Struct.from_python({"a": DENSE[what]})))
    if codec is JSON:
        data = data.replace(b" ", b"")

    weight = codec.decode(data, LogEventRequest).format.weight(data, MANY_VALUES)

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        message = decode_event(data, codec)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert message.event_name
    assert taken < 1.5 * weight + 100_000
    if what == "one long text":
        assert weight <= 2 * len(data)


@pytest.mark.parametrize("codec", [JSON, BINARY], ids=["json", "binary"])
def test_no_body_weighs_more_than_so_many_values_can(codec: Any) -> None:
    data = b",\n\x8a[{" * 800_000

    assert codec.decode(data, LogEventRequest).format.weight(data, 1000) < len(data) + 1_000_000


def test_a_row_of_many_values_weighs_more_than_its_text() -> None:
    assert row_weight("[" + "{}," * 999 + "{}]") > 20 * 3000
    assert row_weight('{"a":"' + "x" * 1000 + '"}') < 1200
    assert row_weight('{"a":"' + ",[" * 10_000 + '"}') < 21_000


def test_what_is_taken_at_once_is_limited_until_it_is_given_back() -> None:
    budget = DecodingBudget(100)
    budget.take("a", 40)
    budget.take("b", 20)
    with pytest.raises(OverloadedError):
        budget.take("c", 41)

    budget.release("b", 20)
    budget.take("c", 41)


def test_who_takes_most_is_refused_before_others() -> None:
    budget = DecodingBudget(100)
    budget.take("a", 50)

    with pytest.raises(CallerOverloadedError):
        budget.take("a", 10)
    budget.take("b", 20)


def test_a_body_alone_is_let_in_whatever_it_weighs() -> None:
    DecodingBudget(100).take("a", 10_000)

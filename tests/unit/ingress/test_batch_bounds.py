"""What is refused of a batch before its events are decoded: too many values, brackets or events."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.decoding.codec import LazyCodec
from ingress.decoding.json_format import JsonFormat
from ingress.decoding.json_scanning import BYTES_PER_STEP
from ingress.decoding.turns import SLICE_SECONDS, Slices
from shared.errors import RequestTooLargeError
from shared.gen.events.v1.event_logging_pb import LogEventsRequest
from tests.support.sample_requests import sample_request
from tests.support.wire.decoding import BINARY, JSON, CountedTurns, decode_events, finished


@pytest.mark.parametrize("codec", [JSON, BINARY], ids=["json", "binary"])
@pytest.mark.parametrize(("values", "refused"), [(200, False), (220, True)])
def test_the_values_of_several_events_are_counted_together(codec: LazyCodec, values: int, refused: bool) -> None:
    # Each value comes with a text of commas and line feeds, which are none.
    metadata = {f"k{number}": ",\n{" * 30 for number in range(99)} | {"list": [1] * (values - 100)}
    body = codec.encode(LogEventsRequest(events=[sample_request(metadata)] * 498))

    if refused:
        with pytest.raises(RequestTooLargeError, match="more than 100000 values"):
            decode_events(body, codec)
    else:
        assert len(decode_events(body, codec)) == 498


@pytest.mark.parametrize("codec", [JSON, BINARY], ids=["json", "binary"])
@pytest.mark.parametrize("item", [{}, [], "", 1, None, {"": {}}, [[]]], ids=repr)
def test_a_batch_may_have_as_many_values_as_it_may(codec: LazyCodec, item: Any) -> None:
    count = 99_999 // 10 if item in (1, {}, [], "", None) else 99_999 // 20
    events = [sample_request({"k": [item] * (count - 2)})] * 10

    assert len(decode_events(codec.encode(LogEventsRequest(events=events)), codec)) == 10


def test_a_batch_can_be_left_for_others_after_so_many_bytes() -> None:
    event = b'{"event_name":"a","actor_id":"%b"},' % (b"b" * 2000)
    steps = JsonFormat().split(b'{"events":[' + (event * 500)[:-1] + b"]}", 100_000)

    assert sum(step is None for step in steps) >= 500 * len(event) // BYTES_PER_STEP - 1


def test_a_batch_full_of_commas_is_no_batch_of_many_values() -> None:
    events = [sample_request({"k": "," * 65_000})] * 60

    assert list(decode_events(JSON.encode(LogEventsRequest(events=events)))) == events


@pytest.mark.parametrize(
    "body",
    [
        b'{"events":[' + b"{}," * 1_300_000 + b"{}]}",
        b'{"events":[' + b"1," * 1_300_000 + b"1]}",
        b'{"events":[' + b'"",' * 1_300_000 + b'""]}',
    ],
    ids=["objects", "numbers", "texts"],
)
def test_of_too_many_events_none_is_decoded(body: bytes) -> None:
    assert len(decode_events(body)) == 501


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":[' + b"{}," * 1_300_000 + b"{}]}",
        b'{"events":[{"metadata":[' + b"{}," * 1_300_000 + b"{}]}]}",
        b'{"events":[{"metadata":[' + b"[" * 4_000_000,
    ],
    ids=["beside the events", "in one event", "without an end"],
)
def test_a_body_of_far_too_many_brackets_is_not_read_to_its_end(body: bytes) -> None:
    with pytest.raises(RequestTooLargeError):
        decode_events(body)


@pytest.mark.parametrize(
    ("body", "codec"),
    [
        (b"\x10\x00" * 1_000_000, BINARY),
        (b"{" + b'"x":1,' * 500_000 + b'"x":1}', JSON),
        (b"{" + b'"events":[],' * 300_000 + b'"events":[]}', JSON),
    ],
    ids=["binary", "json", "json, the events again and again"],
)
def test_a_body_of_many_unknown_fields_is_refused(body: bytes, codec: LazyCodec) -> None:
    with pytest.raises(RequestTooLargeError):
        decode_events(body, codec)


@given(st.lists(st.floats(0, 0.004), max_size=50))
def test_a_slice_has_as_many_pieces_as_fit(durations: list[float]) -> None:
    now = 100.0
    turns = CountedTurns()
    slices = Slices(turns, "a", now=lambda: now)
    held = 0.0
    for duration in durations:
        before = turns.count
        finished(slices.next_piece())
        held = duration if turns.count > before else held + duration
        now += duration
        assert held <= SLICE_SECONDS + duration
    assert turns.count <= 1 + sum(durations) / SLICE_SECONDS

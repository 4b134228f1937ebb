import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.statsig_projection import StatsigEvent
from worker.rejection import (
    REJECTING_EVERYTHING,
    UnserializableEventError,
    send_isolating_rejections,
    split_into_requests,
    wire_size,
)
from worker.statsig_outcome import SendOutcome, Verdict

CONFIRMED = SendOutcome(Verdict.CONFIRMED, 202, "http_202")
REJECTED = SendOutcome(Verdict.REJECTED, 400, "http_400")
UNAVAILABLE = SendOutcome(Verdict.TRANSIENT, 503, "http_503", 3.0)


def event(number: int, value: str | float | None = None) -> StatsigEvent:
    return StatsigEvent(f"e-{number}", "order_paid", value, {"event_id": f"e-{number}"}, 1_700_000_000_000)


def batch(size: int) -> list[StatsigEvent]:
    return [event(number) for number in range(size)]


@dataclass
class ScriptedForwarder:
    """Rejects every request that holds a spoiler; `interfere` may answer a request otherwise."""

    spoilers: set[str] = field(default_factory=set)
    interfere: Callable[[list[str]], SendOutcome | None] = lambda _: None
    requests: list[list[str]] = field(default_factory=list)

    async def send(self, events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        ids = [each.event_id for each in events]
        self.requests.append(ids)
        outcome = self.interfere(ids) or (REJECTED if self.spoilers & set(ids) else CONFIRMED)
        return dict.fromkeys(ids, outcome)


@pytest.mark.parametrize("spoiler", [0, 1, 49, 50, 63, 99])
async def test_one_bad_event_of_a_hundred_is_found_in_few_requests(spoiler: int) -> None:
    forwarder = ScriptedForwarder({f"e-{spoiler}"})

    outcomes = await send_isolating_rejections(forwarder, batch(100), give_up_after=3)

    assert outcomes == {f"e-{number}": REJECTED if number == spoiler else CONFIRMED for number in range(100)}
    assert len(forwarder.requests) <= 2 * math.ceil(math.log2(100)) + 1


@given(st.integers(0, 40), st.sets(st.integers(0, 39)))
async def test_every_event_has_an_outcome_and_only_spoilers_are_rejected(size: int, bad: set[int]) -> None:
    spoilers = {f"e-{number}" for number in bad if number < size}
    forwarder = ScriptedForwarder(spoilers)

    outcomes = await send_isolating_rejections(forwarder, batch(size), give_up_after=1000)

    assert outcomes == {each.event_id: REJECTED if each.event_id in spoilers else CONFIRMED for each in batch(size)}
    # A confirmed event is never sent again.
    confirmed = [event_id for ids in forwarder.requests if not spoilers & set(ids) for event_id in ids]
    assert len(confirmed) == len(set(confirmed))


@pytest.mark.parametrize("outcome", [CONFIRMED, UNAVAILABLE, SendOutcome(Verdict.REFUSED, 401, "http_401")])
async def test_a_batch_that_is_accepted_or_refused_is_sent_once(outcome: SendOutcome) -> None:
    forwarder = ScriptedForwarder(interfere=lambda _: outcome)

    outcomes = await send_isolating_rejections(forwarder, batch(10), give_up_after=3)

    assert outcomes == dict.fromkeys((each.event_id for each in batch(10)), outcome)
    assert len(forwarder.requests) == 1


async def test_nothing_is_sent_for_nothing() -> None:
    forwarder = ScriptedForwarder()

    assert await send_isolating_rejections(forwarder, [], give_up_after=3) == {}
    assert forwarder.requests == []


async def test_a_part_that_meets_an_outage_is_not_split_further() -> None:
    forwarder = ScriptedForwarder({"e-0", "e-7"}, lambda ids: UNAVAILABLE if ids[0] == "e-4" else None)

    outcomes = await send_isolating_rejections(forwarder, batch(8), give_up_after=3)

    assert [event_id for event_id, outcome in outcomes.items() if outcome == UNAVAILABLE] == [
        "e-4",
        "e-5",
        "e-6",
        "e-7",
    ]
    assert outcomes["e-0"] == REJECTED
    assert outcomes["e-1"] == CONFIRMED


async def test_where_everything_is_rejected_the_backlog_is_held() -> None:
    forwarder = ScriptedForwarder({each.event_id for each in batch(100)})

    outcomes = await send_isolating_rejections(forwarder, batch(100), give_up_after=3)

    assert list(outcomes.values()).count(REJECTED) == 3
    assert list(outcomes.values()).count(REJECTING_EVERYTHING) == 97
    assert len(forwarder.requests) < 15


async def test_one_confirmation_shows_that_the_events_are_to_blame() -> None:
    forwarder = ScriptedForwarder({f"e-{number}" for number in range(1, 16)})

    outcomes = await send_isolating_rejections(forwarder, batch(16), give_up_after=2)

    assert list(outcomes.values()).count(REJECTED) == 15
    assert outcomes["e-0"] == CONFIRMED


async def test_a_batch_whose_answer_came_in_two_pieces_is_split_only_where_it_was_rejected() -> None:
    class CutOnce(ScriptedForwarder):
        async def send(self, events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
            outcomes = await super().send(events)
            return outcomes if len(self.requests) > 1 else outcomes | {"e-0": CONFIRMED, "e-1": CONFIRMED}

    forwarder = CutOnce({"e-3"})

    outcomes = await send_isolating_rejections(forwarder, batch(4), give_up_after=3)

    assert outcomes == {"e-0": CONFIRMED, "e-1": CONFIRMED, "e-2": CONFIRMED, "e-3": REJECTED}
    assert forwarder.requests[1:] == [["e-2"], ["e-3"]]


def test_requests_are_cut_by_count_and_by_size_in_order() -> None:
    size = wire_size(event(1))

    assert [len(chunk) for chunk in split_into_requests(batch(7), max_events=3)] == [3, 3, 1]
    assert [len(chunk) for chunk in split_into_requests(batch(7), max_bytes=2 * size)] == [2, 2, 2, 1]
    assert [each for chunk in split_into_requests(batch(7), max_events=3) for each in chunk] == batch(7)
    assert list(split_into_requests([])) == []


@pytest.mark.parametrize("value", ["x" * 5_000, float("nan")], ids=["too-large", "no-json-form"])
def test_an_event_that_cannot_share_a_request_goes_alone(value: str | float) -> None:
    odd = event(9, value)

    chunks = list(split_into_requests([event(1), odd, event(2), event(3)], max_bytes=2_000))

    assert chunks == [[event(1)], [odd], [event(2), event(3)]]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), object(), 10**5_000], ids=["nan", "inf", "object", "huge"]
)
def test_an_event_without_a_json_form_has_no_size(value: float) -> None:
    with pytest.raises(UnserializableEventError):
        wire_size(event(1, value))

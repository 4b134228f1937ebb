"""The search for poison: a failed request is divided until the events at fault have failed alone."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events.statsig_projection import StatsigEvent
from tests.support.fakes.scripted_forwarder import CONFIRMED, REFUSED, REJECTED, SERVER_ERROR, TIMED_OUT
from tests.support.fakes.sending_batches import LIMITED, RecordingLedger, attempts_of, batch, send
from tests.support.fakes.worker_world import WorkerWorld
from worker.statsig.outcome import NOT_SERIALIZABLE, SendOutcome, SendVerdict
from worker.statsig.requests import MAX_EVENTS, SEARCH_PARTS


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


@pytest.mark.parametrize("spoiling", [REJECTED, REFUSED, SERVER_ERROR, TIMED_OUT], ids=lambda each: each.reason)
async def test_the_one_that_spoils_a_request_fails_alone_and_the_others_are_confirmed_once(
    world: WorkerWorld, spoiling: SendOutcome
) -> None:
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-5"}, spoiling
    ledger = RecordingLedger()

    attempts = await send(world, batch(8), ledger=ledger)

    assert world.forwarder.requests == [[f"e-{n}" for n in range(8)], *([f"e-{n}"] for n in range(8))]
    assert attempts.with_verdict(spoiling.verdict) == ["e-5"]
    assert sorted(itertools.chain(*ledger.confirmed)) == [f"e-{n}" for n in range(8) if n != 5]
    assert [e for e, event in attempts.of.items() if event.failed_alone_at is not None] == ["e-5"]
    assert world.circuit.open_reason is None


async def test_a_spoiler_of_a_full_request_is_found_by_eighths(world: WorkerWorld) -> None:
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-200"}, SERVER_ERROR

    attempts = await send(world, batch(MAX_EVENTS))

    depth = 4  # 500, 63, 8, 1
    assert attempts_of(attempts)[200] == depth
    assert max(attempts_of(attempts)) == depth
    assert sum(n == 2 for n in attempts_of(attempts)) >= MAX_EVENTS * 7 // SEARCH_PARTS  # most are in one part only
    assert len(attempts.with_verdict(SendVerdict.CONFIRMED)) == MAX_EVENTS - 1
    assert len(world.forwarder.requests) <= 1 + 3 * SEARCH_PARTS


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=20))
async def test_every_event_has_an_outcome_and_only_spoilers_are_rejected(size: int, bad: set[int]) -> None:
    world = WorkerWorld()
    spoilers = {f"e-{number}" for number in bad if number < size}
    world.forwarder.spoilers = spoilers

    attempts = await send(world, batch(size))

    assert set(attempts.with_verdict(SendVerdict.REJECTED)) == spoilers
    assert attempts.with_verdict(SendVerdict.CONFIRMED) == [
        e.event_id for e in batch(size) if e.event_id not in spoilers
    ]
    assert max(world.forwarder.taken.values(), default=0) <= 1  # a confirmed event is never sent again
    assert {e for e, event in attempts.of.items() if event.failed_alone_at is not None} == spoilers


async def test_what_is_limited_is_tried_whole_once_more_before_it_is_divided(world: WorkerWorld) -> None:
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-2"}, LIMITED

    await send(world, batch(3))

    whole = ["e-0", "e-1", "e-2"]
    assert world.forwarder.requests[:5] == [whole, whole, ["e-0"], ["e-1"], ["e-2"]]


async def test_an_answer_that_came_in_two_pieces_is_searched_only_where_it_failed(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_send, ledger = world.forwarder.send, RecordingLedger()
    world.forwarder.script.append(REJECTED)

    async def cut_once(events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        outcomes = await real_send(events)
        return outcomes if len(world.forwarder.requests) > 1 else outcomes | {"e-0": CONFIRMED, "e-1": CONFIRMED}

    monkeypatch.setattr(world.forwarder, "send", cut_once)

    attempts = await send(world, batch(4), ledger=ledger)

    assert world.forwarder.requests[1:] == [["e-2"], ["e-3"]]
    assert list(itertools.chain(*ledger.confirmed)) == ["e-0", "e-1", "e-2", "e-3"]
    assert len(attempts.with_verdict(SendVerdict.CONFIRMED)) == 4


async def test_an_event_that_could_not_be_put_into_a_request_spoils_none_and_says_nothing_of_statsig(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_send = world.forwarder.send

    async def refuse_one(events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        return await real_send(events) | {"e-1": NOT_SERIALIZABLE}

    monkeypatch.setattr(world.forwarder, "send", refuse_one)

    attempts = await send(world, batch(3))

    assert len(world.forwarder.requests) == 1
    assert attempts.of["e-1"].outcome is NOT_SERIALIZABLE
    assert attempts.of["e-1"].failed_alone_at is None
    assert world.circuit._failures == world.circuit._rejections == 0


async def test_while_requests_are_confirmed_a_search_needs_neither_budget_nor_pause() -> None:
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    world.forwarder.spoilers = {"e-3"}

    attempts = await send(world, batch(16))

    assert len(attempts.with_verdict(SendVerdict.CONFIRMED)) == 15

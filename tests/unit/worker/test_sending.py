"""Sending: what becomes of each event by each answer, how often and how long it is tried."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events.attempt_history import HistoryEntry, HistoryKind
from shared.events.forward_ledger import ClaimOutcome, ClaimResult
from shared.events.statsig_projection import StatsigEvent
from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import (
    CONFIRMED,
    REFUSED,
    REJECTED,
    SERVER_ERROR,
    TIMED_OUT,
    TOO_MANY,
    UNAVAILABLE,
    UNREACHABLE,
)
from tests.support.fakes.worker_world import TickingClock, WorkerWorld
from worker.accounts import BatchAttempts
from worker.circuit import FAILURES_TO_OPEN, LONGEST_QUIET_SECONDS, REJECTIONS_TO_OPEN, SILENCE_SECONDS
from worker.delivery import Delivery
from worker.poison import Suspicion
from worker.sending import LIVELY_SECONDS, LONGEST_BACKOFF_SECONDS, MORE_REQUESTS
from worker.statsig.outcome import NOT_SERIALIZABLE, SendOutcome, SendVerdict
from worker.statsig.requests import MAX_EVENTS, SEARCH_PARTS

FAR = 1e9
RETRY_AFTER_SECONDS = 0.05
LIMITED = SendOutcome(SendVerdict.TRANSIENT, 429, "http_429")
FAILURES = [UNREACHABLE, LIMITED, REFUSED, UNAVAILABLE, SERVER_ERROR, TIMED_OUT]
"""All but a rejection."""


def batch(count: int = 3, *, size: int = 0) -> list[StatsigEvent]:
    """`size` is what each event adds to a request, in bytes."""
    return [StatsigEvent(f"e-{number}", "paid", None, {"text": "x" * size}, 0) for number in range(count)]


@dataclass
class Ledger:
    """What a Delivery asks and tells."""

    lost: set[str] = field(default_factory=set)
    """Events of which it says that they may not be sent again."""

    noted: list[list[str]] = field(default_factory=list)
    confirmed: list[list[str]] = field(default_factory=list)

    on_note: Callable[[Sequence[str]], None] = lambda _: None

    async def note(self, event_ids: Sequence[str]) -> set[str]:
        self.noted.append(list(event_ids))
        self.on_note(event_ids)
        return set(event_ids) - self.lost

    async def confirm(self, event_ids: Sequence[str]) -> None:
        self.confirmed.append(list(event_ids))


def delivery_of(
    events: Sequence[StatsigEvent],
    *,
    deadline: float = FAR,
    is_trial: bool = False,
    ledger: Ledger | None = None,
    accounts: BatchAttempts | None = None,
) -> Delivery:
    ledger = ledger or Ledger()
    return Delivery(
        accounts=accounts
        or BatchAttempts.starting_from([ClaimResult(each.event_id, ClaimOutcome.CLAIMED) for each in events]),
        deadline=deadline,
        note=ledger.note,
        confirmed=ledger.confirm,
        is_trial=is_trial,
    )


async def send(
    world: WorkerWorld,
    events: Sequence[StatsigEvent],
    *,
    deadline: float = FAR,
    is_trial: bool = False,
    ledger: Ledger | None = None,
    accounts: BatchAttempts | None = None,
) -> BatchAttempts:
    delivery = delivery_of(events, deadline=deadline, is_trial=is_trial, ledger=ledger, accounts=accounts)
    await world.sending.send(events, delivery)
    return delivery.accounts


def attempts(accounts: BatchAttempts) -> list[int]:
    return [account.attempts for account in accounts.of.values()]


def possible_duplicates(accounts: BatchAttempts) -> list[int]:
    return [account.possible_duplicates for account in accounts.of.values()]


def answers_take(world: WorkerWorld, seconds: float) -> list[float]:
    """Let each answer take that long; when each began."""
    began: list[float] = []

    def on_send() -> None:
        began.append(world.clock.monotonic())
        world.clock.advance(seconds)

    world.forwarder.on_send = on_send
    return began


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_what_is_confirmed_was_sent_once(world: WorkerWorld) -> None:
    ledger = Ledger()

    accounts = await send(world, batch(), ledger=ledger)

    assert accounts.with_verdict(SendVerdict.CONFIRMED) == ["e-0", "e-1", "e-2"]
    assert attempts(accounts) == [1, 1, 1]
    assert possible_duplicates(accounts) == [0, 0, 0]
    assert world.forwarder.requests == [["e-0", "e-1", "e-2"]]
    assert (ledger.noted, ledger.confirmed) == ([], [["e-0", "e-1", "e-2"]])
    (first, *_) = accounts.attempts(["e-0"])
    assert (first.reason, first.status, first.last_attempt_at) == ("http_202", 202, world.clock.now())


async def test_nothing_is_sent_for_nothing(world: WorkerWorld) -> None:
    await send(world, [])

    assert world.forwarder.requests == []


@pytest.mark.parametrize("answer", FAILURES, ids=lambda answer: answer.reason)
async def test_what_may_pass_is_tried_again(world: WorkerWorld, answer: SendOutcome) -> None:
    world.forwarder.script.extend([answer, answer])

    accounts = await send(world, batch(1))

    assert accounts.with_verdict(SendVerdict.CONFIRMED) == ["e-0"]
    assert attempts(accounts) == [3]
    assert possible_duplicates(accounts) == [world.forwarder.taken["e-0"] - 1]


@pytest.mark.parametrize("answer", [UNREACHABLE, LIMITED, REFUSED, REJECTED], ids=lambda answer: answer.reason)
async def test_what_statsig_certainly_has_not_is_never_counted(world: WorkerWorld, answer: SendOutcome) -> None:
    ledger = Ledger()
    world.forwarder.always = answer

    accounts = await send(world, batch(), ledger=ledger)

    assert sum(attempts(accounts)) >= 3
    assert possible_duplicates(accounts) == [0, 0, 0]
    assert ledger.noted == []


@pytest.mark.parametrize("answer", [UNAVAILABLE, SERVER_ERROR, TIMED_OUT], ids=lambda answer: answer.reason)
async def test_what_statsig_may_have_is_counted_with_every_attempt_and_tried_again(
    world: WorkerWorld, answer: SendOutcome
) -> None:
    world.forwarder.script.extend([answer, answer])

    accounts = await send(world, batch(1))

    assert accounts.with_verdict(SendVerdict.CONFIRMED) == ["e-0"]
    assert attempts(accounts) == [3]
    assert possible_duplicates(accounts) == [2]


async def test_what_statsig_may_have_is_written_down_before_it_is_sent_again(world: WorkerWorld) -> None:
    ledger = Ledger()
    written: list[tuple[int, Sequence[str], int]] = []
    ledger.on_note = lambda ids: written.append(
        (len(world.forwarder.requests), ids, accounts.of["e-0"].possible_duplicates)
    )
    accounts = BatchAttempts.starting_from([ClaimResult("e-0", ClaimOutcome.CLAIMED)])
    world.forwarder.script.extend([TIMED_OUT, UNREACHABLE, TIMED_OUT])
    world.forwarder.on_send = lambda: setattr(world.circuit, "_failures", 0)  # it would open, and end this

    await send(world, batch(1), ledger=ledger, accounts=accounts)

    # Before the second attempt and before the fourth, and not for the one that is known not to have arrived.
    assert written == [(1, ["e-0"], 1), (3, ["e-0"], 2)]
    assert len(world.forwarder.requests) == 4


async def test_of_a_request_only_what_is_not_yet_written_down_is_noted(world: WorkerWorld) -> None:
    ledger = Ledger()
    world.forwarder.script.extend([UNAVAILABLE, CONFIRMED])

    await send(world, batch(3), ledger=ledger)

    assert world.forwarder.requests == [["e-0", "e-1", "e-2"], ["e-0"], ["e-1"], ["e-2"]]
    assert ledger.noted == [["e-0"], ["e-1", "e-2"]]  # once for those that go at the same time


async def test_what_cannot_be_written_down_is_not_sent_again_and_trying_ends(world: WorkerWorld) -> None:
    ledger = Ledger(lost={"e-0"})
    world.forwarder.script.append(UNAVAILABLE)

    accounts = await send(world, batch(3), ledger=ledger)

    assert world.forwarder.requests == [["e-0", "e-1", "e-2"]]
    assert possible_duplicates(accounts) == [1, 1, 1]


async def test_of_a_request_that_is_in_part_lost_the_rest_is_sent(world: WorkerWorld) -> None:
    ledger = Ledger(lost={"e-1"})
    world.forwarder.script.append(UNAVAILABLE)

    await send(world, batch(16), ledger=ledger)

    assert world.forwarder.requests[1:] == [["e-0"]]


async def test_what_was_written_down_before_is_not_written_again(world: WorkerWorld) -> None:
    ledger = Ledger()
    accounts = BatchAttempts.starting_from(
        [ClaimResult("e-0", ClaimOutcome.CLAIMED, attempts=4, possible_duplicates=2)]
    )

    await send(world, batch(1), ledger=ledger, accounts=accounts)

    assert ledger.noted == []


async def test_counts_go_on_from_what_the_ledger_says(world: WorkerWorld) -> None:
    accounts = BatchAttempts.starting_from(
        [ClaimResult("e-0", ClaimOutcome.CLAIMED, attempts=4, possible_duplicates=2)]
    )
    world.forwarder.script.append(TIMED_OUT)

    await send(world, batch(1), accounts=accounts)

    (noted,) = accounts.attempts(["e-0"])
    assert (noted.attempts, noted.possible_duplicates) == (6, 3)


async def test_every_attempt_is_noted_behind_what_the_ledger_has(world: WorkerWorld) -> None:
    before = HistoryEntry(HistoryKind.TAKE_OVER, world.clock.now())
    accounts = BatchAttempts.starting_from([ClaimResult("e-0", ClaimOutcome.CLAIMED, history=(before,))])
    world.forwarder.script.extend([UNREACHABLE, UNAVAILABLE])
    began: list[datetime] = []

    def answer_in_a_second() -> None:
        began.append(world.clock.now())
        world.clock.advance(1)

    world.forwarder.on_send = answer_in_a_second

    await send(world, batch(1), accounts=accounts)

    (noted,) = accounts.attempts(["e-0"])
    assert noted.history == (
        before,
        HistoryEntry(HistoryKind.ATTEMPT, began[0], "transient", "connection_refused", None),
        HistoryEntry(HistoryKind.ATTEMPT, began[1], "ambiguous", "http_503", 503),
        HistoryEntry(HistoryKind.ATTEMPT, began[2], "confirmed", "http_202", 202),
    )


async def test_every_request_of_a_search_is_an_attempt_of_its_events(world: WorkerWorld) -> None:
    world.forwarder.spoilers = {"e-5"}

    accounts = await send(world, batch(8))

    assert [[entry.verdict for entry in noted.history] for noted in accounts.attempts(["e-4", "e-5"])] == [
        ["rejected", "confirmed"],
        ["rejected", "rejected"],
    ]


async def test_what_is_limited_is_tried_whole_once_more_before_it_is_divided(world: WorkerWorld) -> None:
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-2"}, LIMITED

    await send(world, batch(3))

    whole = ["e-0", "e-1", "e-2"]
    assert world.forwarder.requests[:5] == [whole, whole, ["e-0"], ["e-1"], ["e-2"]]


async def test_what_was_never_sent_has_nothing_new_in_its_history(world: WorkerWorld) -> None:
    accounts = await send(world, batch(1), deadline=world.clock.monotonic())

    assert [noted.history for noted in accounts.attempts(["e-0"])] == [()]


@pytest.mark.parametrize("spoiling", [REJECTED, REFUSED, SERVER_ERROR, TIMED_OUT], ids=lambda each: each.reason)
async def test_the_one_that_spoils_a_request_fails_alone_and_the_others_are_confirmed_once(
    world: WorkerWorld, spoiling: SendOutcome
) -> None:
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-5"}, spoiling
    ledger = Ledger()

    accounts = await send(world, batch(8), ledger=ledger)

    assert world.forwarder.requests == [[f"e-{n}" for n in range(8)], *([f"e-{n}"] for n in range(8))]
    assert accounts.with_verdict(spoiling.verdict) == ["e-5"]
    assert sorted(itertools.chain(*ledger.confirmed)) == [f"e-{n}" for n in range(8) if n != 5]
    assert [e for e, account in accounts.of.items() if account.failed_alone_at is not None] == ["e-5"]
    assert world.circuit.open_reason is None


async def test_a_spoiler_of_a_full_request_is_found_by_eighths(world: WorkerWorld) -> None:
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-200"}, SERVER_ERROR

    accounts = await send(world, batch(MAX_EVENTS))

    depth = 4  # 500, 63, 8, 1
    assert attempts(accounts)[200] == depth
    assert max(attempts(accounts)) == depth
    assert sum(n == 2 for n in attempts(accounts)) >= MAX_EVENTS * 7 // SEARCH_PARTS  # most were sent only once more
    assert len(accounts.with_verdict(SendVerdict.CONFIRMED)) == MAX_EVENTS - 1
    assert len(world.forwarder.requests) <= 1 + 3 * SEARCH_PARTS


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=20))
async def test_every_event_has_an_outcome_and_only_spoilers_are_rejected(size: int, bad: set[int]) -> None:
    world = WorkerWorld()
    spoilers = {f"e-{number}" for number in bad if number < size}
    world.forwarder.spoilers = spoilers

    accounts = await send(world, batch(size))

    assert set(accounts.with_verdict(SendVerdict.REJECTED)) == spoilers
    assert accounts.with_verdict(SendVerdict.CONFIRMED) == [
        e.event_id for e in batch(size) if e.event_id not in spoilers
    ]
    assert max(world.forwarder.taken.values(), default=0) <= 1  # a confirmed event is never sent again
    assert {e for e, account in accounts.of.items() if account.failed_alone_at is not None} == spoilers


async def test_a_request_without_a_connection_is_tried_again_whole(world: WorkerWorld) -> None:
    world.forwarder.script.extend([UNREACHABLE, UNREACHABLE])

    accounts = await send(world, batch(3))

    assert world.forwarder.requests == [["e-0", "e-1", "e-2"]] * 3
    assert accounts.with_verdict(SendVerdict.CONFIRMED) == ["e-0", "e-1", "e-2"]
    assert world.size.events == MAX_EVENTS


async def test_after_a_failure_requests_are_smaller_and_grow_with_each_that_is_confirmed(world: WorkerWorld) -> None:
    world.forwarder.script.append(UNAVAILABLE)
    await send(world, batch(80))
    assert [len(request) for request in world.forwarder.requests] == [80, *[10] * 8]
    assert world.size.events > 10
    world.size.events = 10
    world.forwarder.requests.clear()

    await send(world, batch(80))

    assert [len(request) for request in world.forwarder.requests] == [10] * 8  # at once, since others are confirmed
    assert world.size.events == 20
    world.size.events = 10
    world.forwarder.requests.clear()
    world.clock.advance(LIVELY_SECONDS + 0.1)

    await send(world, batch(80))

    assert [len(request) for request in world.forwarder.requests] == [10, 20, 20, 20, 10]


async def test_while_others_are_confirmed_the_parts_of_a_search_are_in_flight_together(world: WorkerWorld) -> None:
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-3"}, SERVER_ERROR
    world.circuit.confirmed()

    def hold_the_parts() -> None:
        if len(world.forwarder.requests) > 1:
            world.forwarder.failures.hold("send")

    world.forwarder.on_send = hold_the_parts
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, world, batch(8))
        await eventually(lambda: world.forwarder.failures.waiting("send") == SEARCH_PARTS)
        assert world.forwarder.requests[1:] == [[f"e-{n}"] for n in range(8)]
        world.forwarder.failures.mend()

    assert world.forwarder.confirmed == {f"e-{n}" for n in range(8) if n != 3}


async def test_what_is_confirmed_during_a_settlement_is_settled_together_after_it() -> None:
    ledger = Ledger()
    may_end = anyio.Event()
    delivery = delivery_of(batch(), ledger=ledger)

    async def slow(event_ids: Sequence[str]) -> None:
        await ledger.confirm(event_ids)
        await may_end.wait()

    delivery.confirmed = slow
    async with anyio.create_task_group() as requests:
        requests.start_soon(delivery.settle, ["e-0"])
        await eventually(lambda: ledger.confirmed)
        requests.start_soon(delivery.settle, ["e-1"])
        requests.start_soon(delivery.settle, ["e-2"])
        await anyio.wait_all_tasks_blocked()
        assert ledger.confirmed == [["e-0"]]
        may_end.set()

    assert ledger.confirmed == [["e-0"], ["e-1", "e-2"]]


async def test_while_nothing_is_confirmed_one_part_of_a_search_is_in_flight(world: WorkerWorld) -> None:
    world.forwarder.always = SERVER_ERROR
    in_flight: list[int] = []
    world.forwarder.on_send = lambda: in_flight.append(
        len(world.forwarder.requests) - world.forwarder.failures.count("send")
    )

    await send(world, batch(64))

    assert in_flight == [1] * FAILURES_TO_OPEN


async def test_the_requests_that_searches_have_in_flight_together_are_bounded(world: WorkerWorld) -> None:
    batches = 3
    world.size.events = 1
    world.circuit.confirmed()
    world.forwarder.failures.hold("send")

    async with anyio.create_task_group() as tasks:
        for _ in range(batches):
            tasks.start_soon(send, world, batch(50))
        await eventually(lambda: world.forwarder.failures.waiting("send") == batches + MORE_REQUESTS)
        await anyio.wait_all_tasks_blocked()
        assert len(world.forwarder.requests) == batches + MORE_REQUESTS
        world.forwarder.failures.mend()

    assert len(world.forwarder.confirmed) == 50


async def test_an_answer_that_came_in_two_pieces_is_searched_only_where_it_failed(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_send, ledger = world.forwarder.send, Ledger()
    world.forwarder.script.append(REJECTED)

    async def cut_once(events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        outcomes = await real_send(events)
        return outcomes if len(world.forwarder.requests) > 1 else outcomes | {"e-0": CONFIRMED, "e-1": CONFIRMED}

    monkeypatch.setattr(world.forwarder, "send", cut_once)

    accounts = await send(world, batch(4), ledger=ledger)

    assert world.forwarder.requests[1:] == [["e-2"], ["e-3"]]
    assert list(itertools.chain(*ledger.confirmed)) == ["e-0", "e-1", "e-2", "e-3"]
    assert len(accounts.with_verdict(SendVerdict.CONFIRMED)) == 4


async def test_an_event_that_could_not_be_put_into_a_request_spoils_none_and_says_nothing_of_statsig(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_send = world.forwarder.send

    async def refuse_one(events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        return await real_send(events) | {"e-1": NOT_SERIALIZABLE}

    monkeypatch.setattr(world.forwarder, "send", refuse_one)

    accounts = await send(world, batch(3))

    assert len(world.forwarder.requests) == 1
    assert accounts.of["e-1"].outcome is NOT_SERIALIZABLE
    assert accounts.of["e-1"].failed_alone_at is None
    assert world.circuit._failures == world.circuit._rejections == 0


async def test_what_fails_alone_while_others_are_confirmed_is_left_to_the_judge() -> None:
    world = WorkerWorld(clock=TickingClock())
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-0"}, SERVER_ERROR

    accounts = await send(world, batch(3))

    assert world.forwarder.requests == [["e-0", "e-1", "e-2"], ["e-0"], ["e-1"], ["e-2"]]
    assert accounts.of["e-0"].failed_alone_at is not None


async def test_what_fails_alone_while_nothing_is_confirmed_is_tried_again() -> None:
    world = WorkerWorld(clock=TickingClock())
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-0"}, SERVER_ERROR
    world.circuit.confirmed()  # before its first request began, and nothing since

    accounts = await send(world, batch(1))

    assert len(world.forwarder.requests) > 2
    assert accounts.of["e-0"].failed_alone_at is not None


async def test_what_fails_last_of_its_batch_is_not_tried_again_since_its_neighbours_were_confirmed() -> None:
    world = WorkerWorld(clock=TickingClock())
    world.forwarder.spoilers, world.forwarder.spoiling = {"e-2"}, SERVER_ERROR

    accounts = await send(world, batch(3))

    assert world.forwarder.requests == [["e-0", "e-1", "e-2"], ["e-0"], ["e-1"], ["e-2"]]
    assert world.guilt.judge(accounts.of["e-2"]) is Suspicion.SUSPECT


async def test_what_fails_alone_is_tried_again_only_until_another_lane_has_something_confirmed(
    world: WorkerWorld,
) -> None:
    world.forwarder.always = SERVER_ERROR

    def another_lane_is_lucky() -> None:
        world.clock.advance(0.1)
        if len(world.forwarder.requests) == 2:
            world.circuit.confirmed()

    world.forwarder.on_send = another_lane_is_lucky

    await send(world, batch(1))

    assert world.forwarder.requests == [["e-0"]] * 2
    assert world.circuit.open_reason is None


async def test_what_is_rejected_alone_is_not_tried_again_even_where_nothing_is_confirmed(world: WorkerWorld) -> None:
    world.forwarder.always = REJECTED

    assert attempts(await send(world, batch(1))) == [1]


@pytest.mark.parametrize("answer", FAILURES, ids=lambda answer: answer.reason)
async def test_three_failures_open_the_circuit_and_end_trying(world: WorkerWorld, answer: SendOutcome) -> None:
    world.forwarder.always = answer

    accounts = await send(world, batch(1))

    assert world.circuit.open_reason == answer.reason
    assert attempts(accounts) == [FAILURES_TO_OPEN]
    assert accounts.with_verdict(answer.verdict) == ["e-0"]


@pytest.mark.parametrize("answer", [*FAILURES, REJECTED], ids=lambda answer: answer.reason)
async def test_a_probe_is_one_attempt(world: WorkerWorld, answer: SendOutcome) -> None:
    world.open_circuit()
    world.forwarder.always = answer

    await send(world, batch(1))

    assert len(world.forwarder.requests) == 1
    assert world.circuit.open_reason is not None


async def test_a_confirmed_probe_closes_the_circuit(world: WorkerWorld) -> None:
    world.open_circuit()

    await send(world, batch(1))

    assert world.circuit.open_reason is None


@pytest.mark.parametrize("answer", [*FAILURES, REJECTED], ids=lambda answer: answer.reason)
async def test_a_trial_is_one_attempt_and_its_failure_says_nothing_of_statsig(
    world: WorkerWorld, answer: SendOutcome
) -> None:
    world.forwarder.always = answer

    for _ in range(REJECTIONS_TO_OPEN):
        assert attempts(await send(world, batch(1), is_trial=True)) == [1]

    assert world.circuit.open_reason is None
    assert world.circuit.quiet_seconds() == 0


async def test_a_trial_that_is_the_probe_is_told_to_the_circuit(world: WorkerWorld) -> None:
    world.open_circuit()
    world.clock.advance(1)
    admission = await world.circuit.admit()
    world.forwarder.always = TIMED_OUT
    await send(world, batch(1), is_trial=True)
    assert world.circuit.open_reason == "timeout"
    world.circuit.leave(admission)
    world.forwarder.always = None

    await send(world, batch(1), is_trial=True)

    assert world.circuit.open_reason is None


async def test_large_events_go_in_requests_of_a_megabyte(world: WorkerWorld) -> None:
    await send(world, batch(4, size=400_000))

    assert world.forwarder.requests == [["e-0", "e-1"], ["e-2", "e-3"]]


async def test_trying_ends_when_the_budget_is_spent() -> None:
    world = WorkerWorld(budget_seconds=10)
    world.random.share = 0.001
    world.forwarder.always = UNREACHABLE
    answers_take(world, 6)

    accounts = await send(world, batch(1))

    assert attempts(accounts) == [2]
    assert world.circuit.open_reason is None


async def test_a_budget_of_nothing_is_one_attempt() -> None:
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    world.forwarder.always = UNREACHABLE

    assert attempts(await send(world, batch(1))) == [1]


async def test_while_requests_are_confirmed_a_search_needs_neither_budget_nor_pause() -> None:
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    world.forwarder.spoilers = {"e-3"}

    accounts = await send(world, batch(16))

    assert len(accounts.with_verdict(SendVerdict.CONFIRMED)) == 15


async def test_the_pause_doubles_to_a_bound_and_is_jittered_from_nothing_up(world: WorkerWorld) -> None:
    world.random.share = 0.0001
    world.forwarder.script.extend([UNREACHABLE] * 7)
    world.forwarder.on_send = lambda: setattr(world.circuit, "_failures", 0)  # it would open, and end this

    await send(world, batch(1))

    uppers = [0.5, 1.0, 2.0, 4.0, LONGEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS]
    assert world.random.bounds == [(0, upper) for upper in uppers]


async def test_a_confirmation_ends_the_pauses() -> None:
    world = WorkerWorld(clock=TickingClock())
    world.random.share = 0.0001
    world.forwarder.script.extend([UNREACHABLE, UNREACHABLE, CONFIRMED, UNREACHABLE])

    await send(world, batch(4, size=400_000))

    assert world.random.bounds == [(0, 0.5), (0, 1.0), (0, 0.5)]


async def test_retry_after_is_the_least_that_is_waited(world: WorkerWorld) -> None:
    world.random.share = 0.02
    world.forwarder.script.append(SendOutcome(SendVerdict.TRANSIENT, 429, "http_429", RETRY_AFTER_SECONDS))
    started = anyio.current_time()

    accounts = await send(world, batch(1))

    assert accounts.with_verdict(SendVerdict.CONFIRMED) == ["e-0"]
    assert anyio.current_time() - started >= RETRY_AFTER_SECONDS + 0.02 * 0.5


async def test_a_retry_after_beyond_the_budget_ends_trying() -> None:
    world = WorkerWorld(budget_seconds=6)
    world.forwarder.script.append(TOO_MANY)

    assert attempts(await send(world, batch(1))) == [1]


async def test_an_absurd_retry_after_ends_trying_and_is_bounded(world: WorkerWorld) -> None:
    world.forwarder.script.append(SendOutcome(SendVerdict.TRANSIENT, 429, "http_429", 1e9))

    assert attempts(await send(world, batch(1))) == [1]
    assert world.circuit.open_reason is None
    assert world.circuit.quiet_seconds() == LONGEST_QUIET_SECONDS


async def test_a_retry_after_holds_for_the_next_batch_too() -> None:
    world = WorkerWorld(budget_seconds=6)
    world.forwarder.script.append(TOO_MANY)
    await send(world, batch(1))

    assert attempts(await send(world, batch(1))) == [0]


async def test_stopping_ends_a_pause_at_once_and_begins_no_attempt(world: WorkerWorld) -> None:
    world.random.share = 1.0
    world.forwarder.script.append(SendOutcome(SendVerdict.TRANSIENT, 429, "http_429", 15.0))

    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, world, batch(1))
            await eventually(lambda: world.random.bounds)
            world.stopping.set()

    assert len(world.forwarder.requests) == 1


async def test_after_stopping_no_attempt_begins(world: WorkerWorld) -> None:
    world.forwarder.always = UNREACHABLE
    world.forwarder.on_send = world.stopping.set

    assert attempts(await send(world, batch(1))) == [1]
    assert attempts(await send(world, batch(1))) == [0]


async def test_nothing_is_sent_with_a_claim_that_may_end_before_the_answer(world: WorkerWorld) -> None:
    with anyio.fail_after(1):  # at once: the lane has other work
        accounts = await send(world, batch(1), deadline=world.clock.monotonic() + 19.9)

    assert world.forwarder.requests == []
    (noted,) = accounts.attempts(["e-0"])
    assert (noted.attempts, noted.last_attempt_at, noted.reason) == (0, None, "not_sent")


async def test_no_retry_begins_when_the_claim_leaves_no_room_for_it() -> None:
    world = WorkerWorld(budget_seconds=300)
    world.forwarder.always = UNREACHABLE
    answers_take(world, 10)

    with anyio.fail_after(1):
        accounts = await send(world, batch(1), deadline=world.clock.monotonic() + 25)

    assert attempts(accounts) == [1]


async def test_of_several_requests_the_later_ones_are_held_back_when_the_circuit_opens(world: WorkerWorld) -> None:
    world.circuit.failed("http_503")
    world.circuit.failed("http_503")
    world.forwarder.always = UNAVAILABLE

    accounts = await send(world, batch(4, size=400_000))

    assert world.forwarder.requests == [["e-0", "e-1"]]
    assert attempts(accounts) == [1, 1, 0, 0]


async def test_of_several_requests_only_what_failed_is_tried_again(world: WorkerWorld) -> None:
    world.forwarder.script.extend([CONFIRMED, UNREACHABLE])

    accounts = await send(world, batch(4, size=400_000))

    assert world.forwarder.requests == [["e-0", "e-1"], ["e-2", "e-3"], ["e-2", "e-3"]]
    assert attempts(accounts) == [1, 1, 2, 2]
    assert max(world.forwarder.taken.values()) == 1


async def test_rejections_of_everything_end_the_search_and_open_the_circuit(world: WorkerWorld) -> None:
    world.forwarder.always = REJECTED

    accounts = await send(world, batch(200))

    assert len(world.forwarder.requests) == REJECTIONS_TO_OPEN
    assert sum(account.failed_alone_at is not None for account in accounts.of.values()) < REJECTIONS_TO_OPEN
    assert world.circuit.open_reason == "http_400"
    assert sum(world.forwarder.taken.values()) == 0


async def test_a_poisoned_event_that_is_alone_with_statsig_opens_the_circuit() -> None:
    """Nothing else is confirmed: it may as well be Statsig. What closes it again is the first good event."""
    world = WorkerWorld(clock=TickingClock())
    world.circuit.confirmed()
    world.forwarder.always = SERVER_ERROR
    began = answers_take(world, 0.5)

    await send(world, batch(1))

    assert world.circuit.open_reason == "http_500"
    assert began[-1] - began[0] < SILENCE_SECONDS + 1

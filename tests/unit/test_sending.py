"""Sending: what becomes of each event by each answer, how often and how long it is tried."""

from collections.abc import Sequence
from datetime import datetime

import anyio
import pytest

from shared.attempt_history import HistoryEntry, HistoryKind
from shared.forward_ledger import Entry, Standing
from shared.statsig_projection import StatsigEvent
from tests.support.eventually import eventually
from tests.support.scripted_forwarder import CONFIRMED, REFUSED, REJECTED, TIMED_OUT, TOO_MANY, UNAVAILABLE
from tests.support.worker_world import WorkerWorld
from worker.sending import LONGEST_BACKOFF_SECONDS, Sent
from worker.statsig_outcome import SendOutcome, Verdict

FAR = 1e9
RETRY_AFTER_SECONDS = 0.05


def batch(count: int = 3, *, size: int = 0) -> list[StatsigEvent]:
    """`size` is what each event adds to a request, in bytes."""
    return [StatsigEvent(f"e-{number}", "paid", None, {"text": "x" * size}, 0) for number in range(count)]


def account_of(events: Sequence[StatsigEvent]) -> Sent:
    return Sent.starting_from([Entry(event.event_id, Standing.CLAIMED) for event in events])


async def send(world: WorkerWorld, events: Sequence[StatsigEvent], *, deadline: float = FAR) -> Sent:
    sent = account_of(events)
    await world.sending.send(events, sent, deadline=deadline)
    return sent


def attempts(sent: Sent) -> list[int]:
    return [account.attempts for account in sent.accounts.values()]


def possible_duplicates(sent: Sent) -> list[int]:
    return [account.possible_duplicates for account in sent.accounts.values()]


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_what_is_confirmed_was_sent_once(world: WorkerWorld) -> None:
    sent = await send(world, batch())

    assert sent.with_verdict(Verdict.CONFIRMED) == ["e-0", "e-1", "e-2"]
    assert attempts(sent) == [1, 1, 1]
    assert possible_duplicates(sent) == [0, 0, 0]
    assert world.forwarder.requests == [["e-0", "e-1", "e-2"]]
    (first, *_) = sent.attempts(["e-0"])
    assert (first.reason, first.status, first.last_attempt_at) == ("http_202", 202, world.clock.now())


@pytest.mark.parametrize("answer", [UNAVAILABLE, SendOutcome(Verdict.TRANSIENT, None, "connection_refused")])
async def test_what_may_pass_is_tried_again(world: WorkerWorld, answer: SendOutcome) -> None:
    world.forwarder.script.extend([answer, answer])

    sent = await send(world, batch())

    assert sent.with_verdict(Verdict.CONFIRMED) == ["e-0", "e-1", "e-2"]
    assert attempts(sent) == [3, 3, 3]
    assert possible_duplicates(sent) == [0, 0, 0]


async def test_an_unknown_outcome_is_counted_and_tried_again(world: WorkerWorld) -> None:
    world.forwarder.script.extend([TIMED_OUT, TIMED_OUT])

    sent = await send(world, batch(1))

    assert sent.with_verdict(Verdict.CONFIRMED) == ["e-0"]
    assert attempts(sent) == [3]
    assert possible_duplicates(sent) == [2]


async def test_counts_go_on_from_what_the_ledger_says(world: WorkerWorld) -> None:
    events = batch(1)
    sent = Sent.starting_from([Entry("e-0", Standing.CLAIMED, attempts=4, possible_duplicates=2)])
    world.forwarder.script.append(TIMED_OUT)

    await world.sending.send(events, sent, deadline=FAR)

    (noted,) = sent.attempts(["e-0"])
    assert (noted.attempts, noted.possible_duplicates) == (6, 3)


async def test_every_attempt_is_noted_behind_what_the_ledger_has(world: WorkerWorld) -> None:
    before = HistoryEntry(HistoryKind.TAKE_OVER, world.clock.now())
    sent = Sent.starting_from([Entry("e-0", Standing.CLAIMED, history=(before,))])
    world.forwarder.script.extend([UNAVAILABLE, TIMED_OUT])
    began: list[datetime] = []

    def answer_in_a_second() -> None:
        began.append(world.clock.now())
        world.clock.advance(1)

    world.forwarder.on_send = answer_in_a_second

    await world.sending.send(batch(1), sent, deadline=FAR)

    (noted,) = sent.attempts(["e-0"])
    assert noted.history == (
        before,
        HistoryEntry(HistoryKind.ATTEMPT, began[0], "transient", "http_503", 503),
        HistoryEntry(HistoryKind.ATTEMPT, began[1], "ambiguous", "timeout", None),
        HistoryEntry(HistoryKind.ATTEMPT, began[2], "confirmed", "http_202", 202),
    )


async def test_the_search_for_a_spoiler_is_one_attempt_of_each_event(world: WorkerWorld) -> None:
    world.forwarder.spoilers = {"e-5"}

    sent = await send(world, batch(8))

    assert [[entry.verdict for entry in noted.history] for noted in sent.attempts(["e-4", "e-5"])] == [
        ["confirmed"],
        ["rejected"],
    ]


async def test_what_was_never_sent_has_nothing_new_in_its_history(world: WorkerWorld) -> None:
    sent = await send(world, batch(1), deadline=world.clock.monotonic())

    assert [noted.history for noted in sent.attempts(["e-0"])] == [()]


async def test_the_one_that_spoils_a_batch_is_rejected_alone(world: WorkerWorld) -> None:
    world.forwarder.spoilers = {"e-5"}

    sent = await send(world, batch(8))

    assert sent.with_verdict(Verdict.REJECTED) == ["e-5"]
    assert len(sent.with_verdict(Verdict.CONFIRMED)) == 7
    assert max(world.forwarder.taken.values()) == 1
    assert possible_duplicates(sent) == [0] * 8
    assert world.circuit.open_reason is None


async def test_a_refusal_opens_the_circuit_and_rejects_and_retries_nothing(world: WorkerWorld) -> None:
    world.forwarder.script.append(REFUSED)

    sent = await send(world, batch())

    assert world.circuit.open_reason == "http_401"
    assert sent.with_verdict(Verdict.REFUSED) == ["e-0", "e-1", "e-2"]
    assert sent.with_verdict(Verdict.REJECTED) == []
    assert len(world.forwarder.requests) == 1


async def test_three_failures_open_the_circuit_and_end_trying(world: WorkerWorld) -> None:
    world.forwarder.always = UNAVAILABLE

    sent = await send(world, batch(1))

    assert world.circuit.open_reason == "http_503"
    assert attempts(sent) == [3]
    assert sent.with_verdict(Verdict.TRANSIENT) == ["e-0"]


async def test_a_probe_is_one_attempt(world: WorkerWorld) -> None:
    world.open_circuit()
    world.forwarder.always = UNAVAILABLE

    await send(world, batch(1))

    assert len(world.forwarder.requests) == 1


async def test_a_probe_that_closed_the_circuit_in_part_is_still_one_attempt(world: WorkerWorld) -> None:
    world.open_circuit()
    world.forwarder.script.extend([CONFIRMED, UNAVAILABLE])

    await send(world, batch(4, size=400_000))

    assert world.forwarder.requests == [["e-0", "e-1"], ["e-2", "e-3"]]


async def test_a_confirmed_probe_closes_the_circuit(world: WorkerWorld) -> None:
    world.open_circuit()

    await send(world, batch(1))

    assert world.circuit.open_reason is None


async def test_trying_ends_when_the_budget_is_spent() -> None:
    world = WorkerWorld(budget_seconds=10)
    world.forwarder.always = UNAVAILABLE
    world.forwarder.on_send = lambda: world.clock.advance(6)

    sent = await send(world, batch(1))

    assert attempts(sent) == [2]
    assert world.circuit.open_reason is None


async def test_a_budget_of_nothing_is_one_attempt() -> None:
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    world.forwarder.always = UNAVAILABLE

    assert attempts(await send(world, batch(1))) == [1]


async def test_the_pause_doubles_to_a_bound_and_is_jittered_from_nothing_up(world: WorkerWorld) -> None:
    world.random.share = 0.0001
    world.forwarder.script.extend([UNAVAILABLE] * 7)
    world.forwarder.on_send = lambda: world.circuit.answered(confirmed=True)  # it would open, and end this

    await send(world, batch(1))

    uppers = [0.5, 1.0, 2.0, 4.0, LONGEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS]
    assert world.random.bounds == [(0, upper) for upper in uppers]


async def test_retry_after_is_the_least_that_is_waited(world: WorkerWorld) -> None:
    world.random.share = 0.02
    world.forwarder.script.append(SendOutcome(Verdict.TRANSIENT, 429, "http_429", RETRY_AFTER_SECONDS))
    started = anyio.current_time()

    sent = await send(world, batch(1))

    assert sent.with_verdict(Verdict.CONFIRMED) == ["e-0"]
    assert anyio.current_time() - started >= RETRY_AFTER_SECONDS + 0.02 * 0.5


async def test_a_retry_after_beyond_the_budget_ends_trying() -> None:
    world = WorkerWorld(budget_seconds=6)
    world.forwarder.script.append(TOO_MANY)

    assert attempts(await send(world, batch(1))) == [1]


async def test_an_absurd_retry_after_opens_the_circuit_instead_of_holding_the_batch() -> None:
    world = WorkerWorld(budget_seconds=60)
    world.forwarder.script.append(SendOutcome(Verdict.TRANSIENT, 429, "http_429", 1e9))

    assert attempts(await send(world, batch(1))) == [1]
    assert world.circuit.open_reason == "http_429"


async def test_a_retry_after_holds_for_the_next_batch_too() -> None:
    world = WorkerWorld(budget_seconds=6)
    world.forwarder.script.append(TOO_MANY)
    await send(world, batch(1))

    assert attempts(await send(world, batch(1))) == [0]


async def test_stopping_ends_a_pause_at_once(world: WorkerWorld) -> None:
    world.random.share = 1.0
    world.forwarder.script.append(SendOutcome(Verdict.TRANSIENT, 503, "http_503", 15.0))

    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, world, batch(1))
            await eventually(lambda: world.random.bounds)
            world.stopping.set()

    assert len(world.forwarder.requests) == 1


async def test_after_stopping_there_is_no_second_attempt(world: WorkerWorld) -> None:
    world.stopping.set()
    world.forwarder.always = UNAVAILABLE

    assert attempts(await send(world, batch(1))) == [1]


async def test_nothing_is_sent_with_a_claim_that_may_end_before_the_answer(world: WorkerWorld) -> None:
    with anyio.fail_after(1):  # at once: the lane has other work
        sent = await send(world, batch(1), deadline=world.clock.monotonic() + 19.9)

    assert world.forwarder.requests == []
    (noted,) = sent.attempts(["e-0"])
    assert (noted.attempts, noted.last_attempt_at, noted.reason) == (0, None, "not_sent")


async def test_no_retry_begins_when_the_claim_leaves_no_room_for_it() -> None:
    world = WorkerWorld(budget_seconds=300)
    world.forwarder.always = UNAVAILABLE
    world.forwarder.on_send = lambda: world.clock.advance(10)

    with anyio.fail_after(1):
        sent = await send(world, batch(1), deadline=world.clock.monotonic() + 25)

    assert attempts(sent) == [1]


async def test_of_several_requests_the_later_ones_are_held_back_when_the_circuit_opens(world: WorkerWorld) -> None:
    world.circuit.failed("http_503")
    world.circuit.failed("http_503")
    world.forwarder.always = UNAVAILABLE

    sent = await send(world, batch(4, size=400_000))

    assert world.forwarder.requests == [["e-0", "e-1"]]
    assert attempts(sent) == [1, 1, 0, 0]


async def test_of_several_requests_only_what_failed_is_tried_again(world: WorkerWorld) -> None:
    world.forwarder.script.extend([CONFIRMED, UNAVAILABLE])

    sent = await send(world, batch(4, size=400_000))

    assert world.forwarder.requests == [["e-0", "e-1"], ["e-2", "e-3"], ["e-2", "e-3"]]
    assert attempts(sent) == [1, 1, 2, 2]
    assert max(world.forwarder.taken.values()) == 1


async def test_rejections_of_everything_end_the_search_and_open_the_circuit(world: WorkerWorld) -> None:
    world.forwarder.always = REJECTED

    sent = await send(world, batch(200))

    assert len(sent.with_verdict(Verdict.REJECTED)) < 200
    assert world.circuit.open_reason is not None
    assert sum(world.forwarder.taken.values()) == 0

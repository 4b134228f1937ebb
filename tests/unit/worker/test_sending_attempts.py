"""How attempts and possible duplicates are counted, and noted in the ledger before an event is sent again."""

from collections.abc import Sequence
from datetime import datetime

import pytest

from shared.events.attempt_history import HistoryEntry, HistoryKind
from shared.events.forward_ledger import ClaimOutcome, ClaimResult
from tests.support.fakes.scripted_forwarder import (
    CONFIRMED,
    REFUSED,
    REJECTED,
    SERVER_ERROR,
    TIMED_OUT,
    UNAVAILABLE,
    UNREACHABLE,
)
from tests.support.fakes.sending_batches import LIMITED, RecordingLedger, attempts_of, batch, possible_duplicates, send
from tests.support.fakes.worker_world import WorkerWorld
from worker.attempts import BatchAttempts
from worker.statsig.outcome import SendOutcome, SendVerdict


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


@pytest.mark.parametrize("answer", [UNREACHABLE, LIMITED, REFUSED, REJECTED], ids=lambda answer: answer.reason)
async def test_what_statsig_certainly_has_not_is_never_counted(world: WorkerWorld, answer: SendOutcome) -> None:
    ledger = RecordingLedger()
    world.forwarder.always = answer

    attempts = await send(world, batch(), ledger=ledger)

    assert sum(attempts_of(attempts)) >= 3
    assert possible_duplicates(attempts) == [0, 0, 0]
    assert ledger.noted == []


@pytest.mark.parametrize("answer", [UNAVAILABLE, SERVER_ERROR, TIMED_OUT], ids=lambda answer: answer.reason)
async def test_what_statsig_may_have_is_counted_with_every_attempt_and_tried_again(
    world: WorkerWorld, answer: SendOutcome
) -> None:
    world.forwarder.script.extend([answer, answer])

    attempts = await send(world, batch(1))

    assert attempts.with_verdict(SendVerdict.CONFIRMED) == ["e-0"]
    assert attempts_of(attempts) == [3]
    assert possible_duplicates(attempts) == [2]


async def test_what_statsig_may_have_is_written_down_before_it_is_sent_again(world: WorkerWorld) -> None:
    ledger = RecordingLedger()
    written: list[tuple[int, Sequence[str], int]] = []
    ledger.on_note = lambda event_ids: written.append(
        (len(world.forwarder.requests), event_ids, attempts.of["e-0"].possible_duplicates)
    )
    attempts = BatchAttempts.starting_from([ClaimResult("e-0", ClaimOutcome.CLAIMED)])
    world.forwarder.script.extend([TIMED_OUT, UNREACHABLE, TIMED_OUT])
    world.forwarder.on_send = lambda: setattr(world.circuit, "_failures", 0)  # keeps the circuit closed

    await send(world, batch(1), ledger=ledger, attempts=attempts)

    # Before the second and the fourth attempt. Before the third none is due: UNREACHABLE leaves no copy.
    assert written == [(1, ["e-0"], 1), (3, ["e-0"], 2)]
    assert len(world.forwarder.requests) == 4


async def test_of_a_request_only_what_is_not_yet_written_down_is_noted(world: WorkerWorld) -> None:
    ledger = RecordingLedger()
    world.forwarder.script.extend([UNAVAILABLE, CONFIRMED])

    await send(world, batch(3), ledger=ledger)

    assert world.forwarder.requests == [["e-0", "e-1", "e-2"], ["e-0"], ["e-1"], ["e-2"]]
    assert ledger.noted == [["e-0"], ["e-1", "e-2"]]  # one note for the requests that are sent together


async def test_what_cannot_be_written_down_is_not_sent_again_and_trying_ends(world: WorkerWorld) -> None:
    ledger = RecordingLedger(lost={"e-0"})
    world.forwarder.script.append(UNAVAILABLE)

    attempts = await send(world, batch(3), ledger=ledger)

    assert world.forwarder.requests == [["e-0", "e-1", "e-2"]]
    assert possible_duplicates(attempts) == [1, 1, 1]


async def test_of_a_request_that_is_in_part_lost_the_rest_is_sent(world: WorkerWorld) -> None:
    ledger = RecordingLedger(lost={"e-1"})
    world.forwarder.script.append(UNAVAILABLE)

    await send(world, batch(16), ledger=ledger)

    assert world.forwarder.requests[1:] == [["e-0"]]


async def test_what_was_written_down_before_is_not_written_again(world: WorkerWorld) -> None:
    ledger = RecordingLedger()
    attempts = BatchAttempts.starting_from(
        [ClaimResult("e-0", ClaimOutcome.CLAIMED, attempts=4, possible_duplicates=2)]
    )

    await send(world, batch(1), ledger=ledger, attempts=attempts)

    assert ledger.noted == []


async def test_counts_go_on_from_what_the_ledger_says(world: WorkerWorld) -> None:
    attempts = BatchAttempts.starting_from(
        [ClaimResult("e-0", ClaimOutcome.CLAIMED, attempts=4, possible_duplicates=2)]
    )
    world.forwarder.script.append(TIMED_OUT)

    await send(world, batch(1), attempts=attempts)

    (noted,) = attempts.records(["e-0"])
    assert (noted.attempts, noted.possible_duplicates) == (6, 3)


async def test_every_attempt_is_noted_behind_what_the_ledger_has(world: WorkerWorld) -> None:
    before = HistoryEntry(HistoryKind.TAKE_OVER, world.clock.now())
    attempts = BatchAttempts.starting_from([ClaimResult("e-0", ClaimOutcome.CLAIMED, history=(before,))])
    world.forwarder.script.extend([UNREACHABLE, UNAVAILABLE])
    began: list[datetime] = []

    def answer_in_a_second() -> None:
        began.append(world.clock.now())
        world.clock.advance(1)

    world.forwarder.on_send = answer_in_a_second

    await send(world, batch(1), attempts=attempts)

    (noted,) = attempts.records(["e-0"])
    assert noted.history == (
        before,
        HistoryEntry(HistoryKind.ATTEMPT, began[0], "transient", "connection_refused", None),
        HistoryEntry(HistoryKind.ATTEMPT, began[1], "ambiguous", "http_503", 503),
        HistoryEntry(HistoryKind.ATTEMPT, began[2], "confirmed", "http_202", 202),
    )


async def test_every_request_of_a_search_is_an_attempt_of_its_events(world: WorkerWorld) -> None:
    world.forwarder.spoilers = {"e-5"}

    attempts = await send(world, batch(8))

    assert [[entry.verdict for entry in noted.history] for noted in attempts.records(["e-4", "e-5"])] == [
        ["rejected", "confirmed"],
        ["rejected", "rejected"],
    ]


async def test_what_was_never_sent_has_nothing_new_in_its_history(world: WorkerWorld) -> None:
    attempts = await send(world, batch(1), deadline=world.clock.monotonic())

    assert [noted.history for noted in attempts.records(["e-0"])] == [()]

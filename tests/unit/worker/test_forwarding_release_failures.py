"""Forwarding when Spanner fails a release: the process remembers the attempts, another one must wait."""

from collections.abc import Iterator

import pytest
import stamina

from shared.errors import StorageUnavailableError
from shared.events.attempt_history import HistoryKind
from tests.support.fakes.forwarding_batches import accounted, forwarded, kinds, tried_alone
from tests.support.fakes.scripted_failures import When
from tests.support.fakes.scripted_forwarder import REJECTED, SERVER_ERROR, TIMED_OUT, UNAVAILABLE, UNREACHABLE
from tests.support.fakes.worker_world import WorkerWorld
from worker.disposition import Disposition
from worker.poison import ALLOWANCE
from worker.statsig.outcome import SendOutcome
from worker.subscription import ReceivedMessage

DOWN = StorageUnavailableError("down")


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def sent_and_not_released(world: WorkerWorld, messages: list[ReceivedMessage]) -> None:
    """Make one attempt with an unknown outcome, of which neither the note nor the release is written."""
    world.forwarder.script.append(UNAVAILABLE)
    world.ledger.failures.fail_next("note", DOWN)
    world.ledger.failures.fail_next("release", DOWN)
    await forwarded(world, messages)
    assert world.forwarder.taken.total() == 1


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize(
    ("answer", "duplicates"),
    [(UNREACHABLE, 0), (REJECTED, 0), (TIMED_OUT, 1), (UNAVAILABLE, 1)],
    ids=["connection_refused", "http_400", "timeout", "http_503"],
)
async def test_a_release_that_failed_costs_the_same_process_no_possible_duplicate(
    answer: SendOutcome, duplicates: int, when: When
) -> None:
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    (event_id,), messages = await world.logged_and_pulled()
    for _ in range(ALLOWANCE):  # once it is used up, a rejection makes a suspect
        world.poison._allows_one_more(world.clock.monotonic())
    world.forwarder.script.append(answer)
    world.ledger.failures.fail_next("release", DOWN, when=when)
    (disposition,) = await forwarded(world, messages)
    world.clock.advance(100)  # past the end of the claim, and of any pause

    assert (
        await tried_alone(world, messages[0])
        if disposition is Disposition.SET_ASIDE
        else (await forwarded(world, messages))[0]
    ) is Disposition.ACK

    assert accounted(world, event_id) == (2, duplicates)
    assert kinds(world, event_id) == [HistoryKind.ATTEMPT] * 2


async def test_a_release_that_failed_costs_another_process_the_rest_of_the_claim(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)
    world.ledger.failures.fail_next("give_up", DOWN)
    world.ledger.failures.fail_next("release", DOWN)

    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.start_process()
    assert await forwarded(world, messages) == [Disposition.NACK]
    world.clock.advance(91)
    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.forwarder.taken[event_id] == 1
    assert world.row(event_id).possible_duplicates == 1


async def test_what_could_not_be_released_and_another_has_taken_over_is_forgotten(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(TIMED_OUT)
    world.ledger.failures.fail_next("note", DOWN)
    world.ledger.failures.fail_next("release", DOWN)
    await forwarded(world, messages)
    world.clock.advance(91)
    await world.ledger.claim([event_id], token="another's", seconds=60)
    world.clock.advance(61)

    assert await forwarded(world, messages) == [Disposition.ACK]

    # Two claims expired without a release. What this process remembered of the first is not written over that.
    assert world.row(event_id).possible_duplicates == 2
    assert kinds(world, event_id) == [HistoryKind.TAKE_OVER, HistoryKind.TAKE_OVER, HistoryKind.ATTEMPT]


async def test_a_suspect_whose_release_failed_is_judged_by_all_that_is_known() -> None:
    world = WorkerWorld(suspect_attempts=3)
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.always = SERVER_ERROR
    world.forwarder.on_send = world.circuit.confirmed  # others are confirmed meanwhile
    world.ledger.failures.fail_until_mended("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.SET_ASIDE]
    assert await tried_alone(world, messages[0]) is Disposition.SET_ASIDE
    world.ledger.failures.mend()

    assert await tried_alone(world, messages[0]) is Disposition.ACK_DEAD

    assert world.dead_letters() == [(event_id, "exhausted")]
    assert world.row(event_id).alone_failures == 3
    assert accounted(world, event_id) == (3, 3)


async def test_what_was_remembered_is_not_forgotten_by_a_claim_under_which_nothing_is_sent(world: WorkerWorld) -> None:
    """Statsig may have a copy, whose note and release failed. The next claim sends nothing: the process stops."""
    (event_id,), messages = await world.logged_and_pulled()
    await sent_and_not_released(world, messages)
    world.stopping.set()

    await forwarded(world, messages)

    assert accounted(world, event_id) == (1, 1)


async def test_what_was_remembered_is_in_the_ledger_before_the_next_attempt(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    await sent_and_not_released(world, messages)
    seen: list[tuple[int, int]] = []
    world.forwarder.on_send = lambda: seen.append(accounted(world, event_id))

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert seen == [(1, 1)]
    assert accounted(world, event_id) == (2, 1)

"""Forwarding when a dead letter cannot be published or settled, or its claim ends meanwhile."""

from collections.abc import Iterator, Sequence

import anyio
import pytest
import stamina

from shared.errors import PublishFailedError, StorageUnavailableError
from shared.events.forward_ledger import ForwardState
from shared.events.forward_message import OutgoingMessage
from shared.process.fault_points import VARIABLE, InjectedFaultError, enable_fault_points
from tests.support.eventually import eventually
from tests.support.fakes.forwarding_batches import accounted, forwarded
from tests.support.fakes.memory_replay_ledger import MemoryReplayLedger
from tests.support.fakes.scripted_forwarder import REJECTED, UNAVAILABLE
from tests.support.fakes.worker_world import WorkerWorld
from worker.dead_letter_publisher import PREFIX
from worker.disposition import DONE, Disposition, ForwardBatch
from worker.subscription import ReceivedMessage

UNPUBLISHED = PublishFailedError("down")
DOWN = StorageUnavailableError("down")
TRIES = 2


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=TRIES):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def test_a_dead_letter_that_cannot_be_published_is_neither_settled_nor_done(world: WorkerWorld) -> None:
    event_ids, messages = await world.logged_and_pulled(4)
    world.forwarder.spoilers = {event_ids[1]}
    world.dead_letter_topic.failures.fail_next("publish", UNPUBLISHED)

    assert await forwarded(world, messages) == [Disposition.ACK, Disposition.HOLD, Disposition.ACK, Disposition.ACK]

    row = world.row(event_ids[1])
    assert (row.state, row.claim_token, row.last_reason) == (ForwardState.PENDING, None, "http_400")


async def test_a_dead_letter_that_cannot_be_settled_is_only_settled_when_it_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES)

    assert await forwarded(world, messages) == [Disposition.HOLD]
    assert world.row(event_id).state == ForwardState.PENDING
    assert world.row(event_id).claim_token is not None
    assert await forwarded(world, messages) == [Disposition.ACK_DEAD]

    row = world.row(event_id)
    assert (row.state, row.last_reason) == (ForwardState.DEAD, "http_400")
    assert world.dead_letters() == [(event_id, "http_400")]
    assert world.forwarder.requests == [[event_id]]
    assert accounted(world, event_id) == (1, 0)


async def test_a_dead_letter_that_cannot_be_settled_for_long_is_published_and_sent_once(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_until_mended("settle_dead", DOWN)

    decided = [await forwarded(world, messages) for _ in range(3)]
    world.ledger.failures.mend()
    decided.append(await forwarded(world, messages))

    assert not DONE & {disposition for dispositions in decided[:3] for disposition in dispositions}
    assert decided[3] == [Disposition.ACK_DEAD]
    assert world.dead_letters() == [(event_id, "http_400")]
    assert world.forwarder.requests == [[event_id]]
    assert world.row(event_id).state == ForwardState.DEAD
    assert accounted(world, event_id) == (1, 0)


async def test_a_dead_letter_whose_claim_expired_unsettled_is_settled_by_the_process_that_published_it(
    world: WorkerWorld,
) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES)
    await forwarded(world, messages)
    world.clock.advance(91)

    assert await forwarded(world, messages) == [Disposition.ACK_DEAD]

    assert world.dead_letters() == [(event_id, "http_400")]
    assert accounted(world, event_id) == (1, 0)


async def test_a_dead_letter_that_was_replayed_meanwhile_is_sent_again(world: WorkerWorld) -> None:
    """The replay took over the claim. Settling as DEAD now would leave a dead event without a dead letter to replay."""
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES)
    await forwarded(world, messages)
    world.clock.advance(91)
    await MemoryReplayLedger(world.store).reopen([event_id], max_replays=3)
    world.forwarder.spoilers = set()

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.row(event_id).state == ForwardState.DELIVERED


async def test_what_was_replayed_meanwhile_is_released_like_anything_else(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES)
    await forwarded(world, messages)
    world.clock.advance(91)
    await MemoryReplayLedger(world.store).reopen([event_id], max_replays=3)
    world.forwarder.spoilers, world.forwarder.always = set(), UNAVAILABLE

    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert world.row(event_id).claim_token is None


async def test_poison_that_cannot_be_dead_lettered_is_left_for_later(world: WorkerWorld) -> None:
    await world.topic.publish([OutgoingMessage(b"poison", {})])
    _, messages = await world.logged_and_pulled()
    world.dead_letter_topic.failures.fail_next("publish", UNPUBLISHED)

    assert await forwarded(world, messages) == [Disposition.NACK, Disposition.ACK]


async def test_dead_lettering_that_ends_after_the_claim_is_settled_when_it_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)
    world.dead_letter_topic.failures.hold("publish")
    decided: list[Disposition] = []

    async def forward() -> None:
        decided.extend(await forwarded(world, messages))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forward)
        await eventually(lambda: world.dead_letter_topic.failures.waiting("publish"))
        world.clock.advance(91)
        world.dead_letter_topic.failures.mend()

    assert decided == [Disposition.HOLD]
    assert world.row(event_id).state == ForwardState.PENDING
    # No other worker has claimed it: the published dead letter is settled, and nothing is sent or published again.
    assert await forwarded(world, messages) == [Disposition.ACK_DEAD]
    row = world.row(event_id)
    assert (row.state, row.attempts, row.possible_duplicates) == (ForwardState.DEAD, 1, 0)
    assert len(world.dead_letter_topic.published) == 1


async def test_nothing_is_dead_lettered_when_the_claim_is_about_to_end(world: WorkerWorld) -> None:
    _, messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)
    world.forwarder.on_send = lambda: world.clock.advance(89.5)

    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert world.dead_letter_topic.published == []


async def died_at(
    world: WorkerWorld, point: str, messages: Sequence[ReceivedMessage], forward: ForwardBatch | None = None
) -> None:
    """Forwards until the process dies there, then starts another one once the claim is over."""
    world.ledger.failures.fail_until_mended("release", DOWN)  # nothing is cleaned up
    enable_fault_points({VARIABLE: f"{point}=raise@1"})
    with pytest.raises(InjectedFaultError):
        await (forward or world.forwarding.forward)(messages)
    enable_fault_points({})
    world.ledger.failures.mend()
    world.start_process()
    world.clock.advance(91)


@pytest.mark.parametrize(("point", "letters"), [("after_give_up", 1), ("after_dead_letter_publish", 2)])
async def test_what_a_process_gave_up_before_it_died_is_dead_lettered_by_the_next_and_not_sent(
    world: WorkerWorld, point: str, letters: int
) -> None:
    """Sent again it could be taken, and would have a dead letter and be at Statsig."""
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    await died_at(world, point, messages)
    world.forwarder.spoilers = set()

    assert await forwarded(world, messages) == [Disposition.ACK_DEAD]

    assert world.forwarder.requests == [[event_id]]
    assert world.dead_letters() == [(event_id, "http_400")] * letters
    row = world.row(event_id)
    assert (row.state, row.last_reason, row.last_status) == (ForwardState.DEAD, "http_400", 400)
    assert accounted(world, event_id) == (1, 0)
    assert world.dead_letter_topic.published[-1].attributes[PREFIX + "attempts"] == "1"
    assert world.dead_letter_topic.published[-1].attributes[PREFIX + "status"] == "400"


async def test_the_others_of_a_batch_are_sent_beside_one_that_was_given_up(world: WorkerWorld) -> None:
    (bad, *good), messages = await world.logged_and_pulled(3)
    world.forwarder.spoilers = {bad}
    await died_at(world, "after_give_up", [each for each in messages if each.attributes["event_id"] == bad])
    world.forwarder.spoilers = set()

    assert await forwarded(world, messages) == [Disposition.ACK_DEAD, Disposition.ACK, Disposition.ACK]

    assert sorted(world.forwarder.requests[-1]) == sorted(good)
    assert world.dead_letters() == [(bad, "http_400")]


async def test_nothing_is_published_for_an_event_that_cannot_be_noted_as_given_up(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_next("give_up", DOWN)

    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert world.dead_letters() == []
    row = world.row(event_id)
    assert (row.state, row.claim_token, row.given_up_reason) == (ForwardState.PENDING, None, None)
    assert await forwarded(world, messages) == [Disposition.ACK_DEAD]
    assert world.dead_letters() == [(event_id, "http_400")]


async def test_an_event_whose_dead_letter_could_not_be_published_is_not_sent_for_the_next_try(
    world: WorkerWorld,
) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.dead_letter_topic.failures.fail_next("publish", UNPUBLISHED)
    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert await forwarded(world, messages) == [Disposition.ACK_DEAD]

    assert world.forwarder.requests == [[event_id]]
    assert world.dead_letters() == [(event_id, "http_400")]


async def test_a_suspect_that_was_given_up_in_its_trial_is_not_set_aside_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.row(event_id).not_before = world.clock.now()
    world.forwarder.script.append(REJECTED)
    await died_at(world, "after_give_up", messages, world.forwarding.try_alone)

    assert await forwarded(world, messages) == [Disposition.ACK_DEAD]

    assert world.forwarder.requests == [[event_id]]
    assert world.dead_letters() == [(event_id, "http_400")]


async def test_what_was_given_up_late_in_a_claim_is_left_to_the_next_one(world: WorkerWorld) -> None:
    """Another worker may have the event once the claim has ended, and an operator may replay it."""
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)
    world.ledger.failures.hold("give_up")
    decided: list[Disposition] = []

    async def forward() -> None:
        decided.extend(await forwarded(world, messages))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forward)
        await eventually(lambda: world.ledger.failures.waiting("give_up"))
        world.clock.advance(89.5)
        world.ledger.failures.mend()

    assert decided == [Disposition.HOLD]
    assert world.dead_letters() == []
    assert await forwarded(world, messages) == [Disposition.ACK_DEAD]
    assert world.forwarder.requests == [[event_id]]
    assert world.dead_letters() == [(event_id, "http_400")]

"""What becomes of a batch when Spanner or Pub/Sub fail under it, or the process ends."""

from collections.abc import Iterator

import anyio
import pytest
import stamina

from shared.errors import PublishFailedError, StorageUnavailableError
from shared.forward_ledger import ForwardState
from shared.forward_message import OutgoingMessage
from tests.support.eventually import eventually
from tests.support.scripted_failures import When
from tests.support.scripted_forwarder import REJECTED
from tests.support.worker_world import WorkerWorld
from worker.forwarding import SETTLE_MARGIN_SECONDS, Fate
from worker.subscription import ReceivedMessage

DOWN = StorageUnavailableError("down")
UNPUBLISHED = PublishFailedError("down")
ATTEMPT_SECONDS = 20.0
"""Of WorkerWorld."""


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def forwarded(world: WorkerWorld, messages: list[ReceivedMessage]) -> list[Fate]:
    decided = await world.forwarding.forward(messages)
    return [decided[message.ack_id] for message in messages]


async def cancelled_while_held(world: WorkerWorld, messages: list[ReceivedMessage], held: str) -> None:
    """Forward, and end the process while that call of the ledger or of Statsig is running."""
    failures = world.forwarder.failures if held == "send" else world.ledger.failures
    failures.hold(held)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.forwarding.forward, messages)
        await eventually(lambda: failures.waiting(held))
        failures._gates.clear()  # only for the call that is running
        tasks.cancel_scope.cancel()


async def test_without_a_claim_nothing_is_sent(world: WorkerWorld) -> None:
    _, messages = await world.logged_and_pulled(2)
    world.ledger.failures.fail_next("claim", DOWN)

    assert await forwarded(world, messages) == [Fate.LATER] * 2

    assert world.forwarder.requests == []
    assert world.circuit.open_reason is None


async def test_a_claim_whose_answer_was_lost_is_released_and_keeps_nobody_away(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    assert await forwarded(world, messages) == [Fate.LATER]

    assert await forwarded(world, messages) == [Fate.DONE]
    row = world.row(event_id)
    assert (row.attempts, row.possible_duplicates) == (1, 0)


async def test_a_cancelled_claim_is_released(world: WorkerWorld) -> None:
    _, messages = await world.logged_and_pulled()

    await cancelled_while_held(world, messages, "claim")

    assert "release" in world.journal


async def test_a_claim_that_can_be_neither_heard_of_nor_released_keeps_others_away_until_it_expires(
    world: WorkerWorld,
) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Fate.LATER]

    assert await forwarded(world, messages) == [Fate.LATER]
    world.clock.advance(91)
    assert await forwarded(world, messages) == [Fate.DONE]

    assert world.forwarder.taken[event_id] == 1


async def test_claims_that_keep_failing_open_the_circuit_and_one_that_succeeds_closes_it(world: WorkerWorld) -> None:
    _, messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, times=3)

    decided = [await forwarded(world, messages) for _ in range(3)]

    assert decided == [[Fate.LATER], [Fate.LATER], [Fate.HELD]]
    assert world.circuit.open_reason == "storage_unavailable"
    assert await forwarded(world, messages) == [Fate.DONE]
    assert world.circuit.open_reason is None


async def test_what_is_confirmed_but_not_settled_is_neither_done_nor_released(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)

    assert await forwarded(world, messages) == [Fate.LATER]

    row = world.row(event_id)
    assert row.state == ForwardState.PENDING
    assert row.claim_token is not None
    assert "release" not in world.journal


async def test_what_is_confirmed_but_not_settled_is_only_settled_when_it_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)
    await forwarded(world, messages)
    assert await forwarded(world, messages) == [Fate.LATER]
    world.ledger.failures.mend()
    world.clock.advance(1000)

    assert await forwarded(world, messages) == [Fate.DONE]

    assert world.forwarder.taken[event_id] == 1
    assert world.row(event_id).state == ForwardState.DELIVERED


async def test_a_settlement_whose_answer_was_lost_is_repeated_and_done(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("settle_delivered", DOWN, when=When.AFTER)

    assert await forwarded(world, messages) == [Fate.DONE]

    assert world.forwarder.taken[event_id] == 1


async def test_a_dead_letter_that_cannot_be_published_is_neither_settled_nor_done(world: WorkerWorld) -> None:
    event_ids, messages = await world.logged_and_pulled(4)
    world.forwarder.spoilers = {event_ids[1]}
    world.dead_letter_topic.failures.fail_next("publish", UNPUBLISHED)

    assert await forwarded(world, messages) == [Fate.DONE, Fate.LATER, Fate.DONE, Fate.DONE]

    row = world.row(event_ids[1])
    assert (row.state, row.claim_token, row.last_reason) == (ForwardState.PENDING, None, "http_400")


async def test_a_dead_letter_that_cannot_be_settled_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_next("settle_dead", DOWN)

    assert await forwarded(world, messages) == [Fate.LATER]
    assert world.row(event_id).state == ForwardState.PENDING
    assert await forwarded(world, messages) == [Fate.DONE]

    assert world.row(event_id).state == ForwardState.DEAD
    # Twice, under one event_id: better than not at all.
    assert [letter.attributes["event_id"] for letter in world.dead_letter_topic.published] == [event_id] * 2


async def test_poison_that_cannot_be_dead_lettered_is_left_for_later(world: WorkerWorld) -> None:
    await world.topic.publish([OutgoingMessage(b"poison", {})])
    _, messages = await world.logged_and_pulled()
    world.dead_letter_topic.failures.fail_next("publish", UNPUBLISHED)

    assert await forwarded(world, messages) == [Fate.LATER, Fate.DONE]


async def test_a_burial_that_ends_after_the_claim_is_none_and_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)
    world.dead_letter_topic.failures.hold("publish")
    fates: list[Fate] = []

    async def forward() -> None:
        fates.extend(await forwarded(world, messages))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forward)
        await eventually(lambda: world.dead_letter_topic.failures.waiting("publish"))
        world.clock.advance(91)
        world.dead_letter_topic.failures.mend()

    assert fates == [Fate.LATER]
    row = world.row(event_id)
    assert (row.state, row.attempts, row.claim_token) == (ForwardState.PENDING, 1, None)


async def test_nothing_is_buried_when_the_claim_is_about_to_end(world: WorkerWorld) -> None:
    _, messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)
    world.forwarder.on_send = lambda: world.clock.advance(89.5)

    assert await forwarded(world, messages) == [Fate.LATER]

    assert world.dead_letter_topic.published == []


async def test_a_release_that_fails_costs_only_the_rest_of_the_claim(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)
    world.dead_letter_topic.failures.fail_next("publish", UNPUBLISHED)
    world.ledger.failures.fail_next("release", DOWN)

    assert await forwarded(world, messages) == [Fate.LATER]
    assert await forwarded(world, messages) == [Fate.LATER]
    world.clock.advance(91)
    assert await forwarded(world, messages) == [Fate.DONE]

    assert world.forwarder.taken[event_id] == 1


async def test_a_cancelled_send_is_released_and_noted_as_a_possible_duplicate(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()

    await cancelled_while_held(world, messages, "send")

    row = world.row(event_id)
    assert (row.state, row.claim_token, row.claimed_until) == (ForwardState.PENDING, None, None)
    assert (row.attempts, row.possible_duplicates, row.last_reason) == (1, 1, "interrupted")


async def test_a_cancelled_settlement_is_tried_once_more_and_never_released(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()

    await cancelled_while_held(world, messages, "settle_delivered")

    assert world.row(event_id).state == ForwardState.DELIVERED
    assert "release" not in world.journal


async def test_a_cancelled_settlement_that_cannot_be_written_keeps_its_claim(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)

    await cancelled_while_held(world, messages, "settle_delivered")

    assert world.row(event_id).state == ForwardState.PENDING
    assert world.row(event_id).claim_token is not None
    assert "release" not in world.journal


async def test_a_crash_of_ours_releases_the_claims(world: WorkerWorld) -> None:
    event_ids, messages = await world.logged_and_pulled(2)
    world.forwarder.failures.fail_next("send", RuntimeError("a bug"))

    with pytest.raises(RuntimeError):
        await world.forwarding.forward(messages)

    assert [world.row(event_id).claim_token for event_id in event_ids] == [None, None]


async def test_a_worker_that_was_paused_past_its_claim_sends_nothing_with_it(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    gate = world.ledger.failures.hold("claim")
    decided: list[Fate] = []

    async def forward() -> None:
        decided.extend(await forwarded(world, messages))

    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forward)
            await eventually(lambda: world.ledger.failures.waiting("claim"))
            world.clock.advance(90 - SETTLE_MARGIN_SECONDS - ATTEMPT_SECONDS + 0.1)
            gate.set()

    assert world.forwarder.requests == []
    assert decided == [Fate.LATER]
    assert (world.row(event_id).attempts, world.row(event_id).claim_token) == (0, None)

"""Forwarding that is cancelled at any step, crashes, or is paused past its claim."""

from collections.abc import Iterator
from dataclasses import replace

import anyio
import pytest
import stamina

from shared.errors import StorageUnavailableError
from shared.events.attempt_history import HistoryKind
from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.forwarding_batches import accounted, forwarded, kinds
from tests.support.fakes.scripted_forwarder import REJECTED, TIMED_OUT, UNAVAILABLE
from tests.support.fakes.worker_world import ATTEMPT_SECONDS, WorkerWorld
from worker.disposition import Disposition
from worker.forwarding import SETTLE_MARGIN_SECONDS
from worker.subscription import ReceivedMessage

DOWN = StorageUnavailableError("down")


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def cancelled_while_held(world: WorkerWorld, messages: list[ReceivedMessage], held: str) -> None:
    """Forward, and cancel it during the call `held` of the ledger or, if that is "send", of Statsig."""
    failures = world.forwarder.failures if held == "send" else world.ledger.failures
    failures.hold(held)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.forwarding.forward, messages)
        await eventually(lambda: failures.waiting(held))
        failures._gates.clear()  # later calls are not held
        tasks.cancel_scope.cancel()


async def test_a_cancelled_claim_is_released(world: WorkerWorld) -> None:
    _, messages = await world.logged_and_pulled()

    await cancelled_while_held(world, messages, "claim")

    assert "release" in world.journal


async def test_cancelled_between_the_claim_and_the_first_attempt_all_claims_are_released(world: WorkerWorld) -> None:
    event_ids, messages = await world.logged_and_pulled(2)
    world.store.ledger.pop(event_ids[0])  # its message is dead-lettered before anything is sent
    failures = world.dead_letter_topic.failures
    failures.hold("publish")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.forwarding.forward, [replace(each, delivery_attempt=9) for each in messages])
        await eventually(lambda: failures.waiting("publish"))
        assert world.row(event_ids[1]).claim_token is not None
        tasks.cancel_scope.cancel()

    row = world.row(event_ids[1])
    assert (row.claim_token, row.attempts, row.possible_duplicates) == (None, 0, 0)
    assert world.forwarder.requests == []


async def test_a_trial_that_is_cancelled_leaves_a_suspect(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.failures.hold("send")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.forwarding.try_alone, messages)
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        tasks.cancel_scope.cancel()

    assert world.row(event_id).not_before is not None


async def test_a_cancelled_send_is_released_and_noted_as_a_possible_duplicate(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()

    await cancelled_while_held(world, messages, "send")

    row = world.row(event_id)
    assert (row.state, row.claim_token, row.claimed_until) == (ForwardState.PENDING, None, None)
    assert (row.attempts, row.possible_duplicates, row.last_reason) == (1, 1, "interrupted")


async def test_two_unanswered_attempts_and_a_death_in_the_third_are_three_possible_duplicates(
    world: WorkerWorld,
) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.extend([TIMED_OUT, UNAVAILABLE])
    failures = world.forwarder.failures

    def hold_the_third() -> None:
        if len(world.forwarder.requests) == 3:
            failures.hold("send")

    world.forwarder.on_send = hold_the_third
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.forwarding.forward, messages)
        await eventually(lambda: failures.waiting("send"))
        world.ledger.failures.fail_until_mended("release", DOWN)  # the process ends without writing anything more
        tasks.cancel_scope.cancel()
    failures.mend()
    world.ledger.failures.mend()
    assert accounted(world, event_id) == (2, 2)
    world.start_process()
    world.clock.advance(91)

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.row(event_id).possible_duplicates == 3
    assert world.forwarder.taken[event_id] <= 1 + 3
    assert kinds(world, event_id) == [HistoryKind.ATTEMPT] * 2 + [HistoryKind.TAKE_OVER, HistoryKind.ATTEMPT]


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


async def test_cancelled_dead_lettering_keeps_its_claim_and_is_settled_when_it_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)

    await cancelled_while_held(world, messages, "settle_dead")

    assert world.row(event_id).claim_token is not None
    assert await forwarded(world, messages) == [Disposition.ACK_DEAD]
    assert world.dead_letters() == [(event_id, "http_400")]
    assert len(world.forwarder.requests) == 1


async def test_a_crash_of_ours_releases_the_claims(world: WorkerWorld) -> None:
    event_ids, messages = await world.logged_and_pulled(2)
    world.forwarder.failures.fail_next("send", RuntimeError("a bug"))

    with pytest.raises(RuntimeError):
        await world.forwarding.forward(messages)

    assert [world.row(event_id).claim_token for event_id in event_ids] == [None, None]


async def test_a_worker_that_was_paused_past_its_claim_sends_nothing_with_it(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    gate = world.ledger.failures.hold("claim")
    decided: list[Disposition] = []

    async def forward() -> None:
        decided.extend(await forwarded(world, messages))

    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forward)
            await eventually(lambda: world.ledger.failures.waiting("claim"))
            world.clock.advance(90 - SETTLE_MARGIN_SECONDS - ATTEMPT_SECONDS + 0.1)
            gate.set()

    assert world.forwarder.requests == []
    assert decided == [Disposition.HOLD]
    assert (world.row(event_id).attempts, world.row(event_id).claim_token) == (0, None)

"""Messages of erased events: each ends acked, however far the worker had come with it, and nothing is sent."""

from collections.abc import Iterator

import anyio
import pytest
import stamina

from shared.errors import StorageUnavailableError
from shared.events.erasure import ERASER
from shared.events.event import Event
from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.forwarding_batches import dead_letter_reasons, forward_all, forwarded, trial, tried_alone
from tests.support.fakes.memory_erasure import MemoryErasure
from tests.support.fakes.scripted_forwarder import REJECTED, TIMED_OUT, UNAVAILABLE
from tests.support.fakes.worker_world import WorkerWorld
from tests.support.sample_events import sample_event, sample_row
from worker.disposition import Disposition
from worker.poison import NOTORIOUS_AT

DOWN = StorageUnavailableError("down")


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def erase(world: WorkerWorld, *events: Event) -> None:
    await MemoryErasure(world.store).erase([event.event_id for event in events])


async def test_messages_of_erased_events_are_acked_and_counted_and_the_others_handled_as_ever(
    world: WorkerWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    erased, (good,) = await world.log(2), await world.log(1)
    await world.publish([sample_event()])
    await erase(world, *erased)

    assert await forward_all(world) == [Disposition.ACK] * 3 + [Disposition.NACK]

    assert world.forwarder.requests == [[good.event_id]]
    assert world.dead_letter_topic.published == []
    out = capsys.readouterr().out
    assert "erased_event_skipped" in out
    assert "events=2" in out


async def test_where_deliveries_are_not_counted_they_are_acked_too(world: WorkerWorld) -> None:
    world.subscription.dead_letter_topic = None
    await erase(world, *await world.log(1))

    assert await forward_all(world) == [Disposition.ACK]

    assert world.dead_letter_topic.published == []


async def test_a_batch_with_nothing_erased_says_nothing_of_it(
    world: WorkerWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.log(1)
    await forward_all(world)
    assert "erased" not in capsys.readouterr().out


@pytest.mark.parametrize("call", ["settle_delivered", "settle_dead", "release"])
async def test_a_message_whose_outcome_is_remembered_is_acked(world: WorkerWorld, call: str) -> None:
    (event,) = await world.log(1)
    messages = await world.pull()
    if call != "settle_delivered":
        world.forwarder.always = REJECTED if call == "settle_dead" else UNAVAILABLE
    world.ledger.failures.fail_until_mended(call, DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]
    assert world.settling.known([event.event_id])
    letters, requests = len(world.dead_letter_topic.published), len(world.forwarder.requests)
    world.ledger.failures.mend()
    world.clock.advance(world.claim_seconds + 1)
    await erase(world, event)

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.settling.known([event.event_id]) == {}
    assert len(world.dead_letter_topic.published) == letters
    assert len(world.forwarder.requests) == requests


async def test_a_suspect_is_acked_at_its_trial(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    (message,) = await world.pull()
    for _ in range(NOTORIOUS_AT):
        world.poison.failed_alone(event.event_name)
    assert await forwarded(world, [message]) == [Disposition.SET_ASIDE_UNTRIED]
    await erase(world, event)

    assert await tried_alone(world, message) is Disposition.ACK

    assert world.forwarder.requests == []


async def test_a_probe_of_an_open_circuit_is_acked(world: WorkerWorld) -> None:
    await erase(world, *await world.log(1))
    world.open_circuit()

    assert await trial(world) is Disposition.ACK

    assert world.forwarder.requests == []


async def test_an_event_that_is_erased_while_it_is_sent_is_not_sent_again(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    messages = await world.pull()
    world.forwarder.always = TIMED_OUT
    gate = world.forwarder.failures.hold("send")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forwarded, world, messages)
        await eventually(lambda: world.forwarder.failures.waiting("send"))
        await erase(world, event)
        gate.set()

    assert world.forwarder.requests == [[event.event_id]]
    assert world.row(event.event_id).state == ForwardState.PENDING
    assert world.row(event.event_id).claim_token == ERASER
    assert await forwarded(world, messages) == [Disposition.NACK]
    world.clock.advance(world.claim_seconds)
    await erase(world, event)
    assert await forwarded(world, messages) == [Disposition.ACK]
    assert world.forwarder.requests == [[event.event_id]]


async def test_an_event_that_is_logged_again_is_delivered(world: WorkerWorld) -> None:
    (event,) = await world.log(1)
    messages = await world.pull()
    await erase(world, event)
    assert await forwarded(world, messages) == [Disposition.ACK]
    await world.repository.append([sample_row(event)])
    await world.publish([event])

    assert await forward_all(world) == [Disposition.ACK]

    assert world.states() == [ForwardState.DELIVERED]
    assert dead_letter_reasons(world) == []

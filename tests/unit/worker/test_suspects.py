"""Suspects: when they are tried alone, how much of the time that takes, and what becomes of them."""

from itertools import pairwise

import anyio
import pytest

from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import SERVER_ERROR
from tests.support.fakes.suspects_world import BACKOFF, SuspectsWorld, checked
from tests.support.fakes.worker_world import PROBE_SECONDS, WorkerWorld
from worker.disposition import Disposition
from worker.suspects import LONGEST_PAUSE_SECONDS, TRIAL_TIME_SHARE, TRIALS_AT_ONCE, UNPACED

pytestmark = pytest.mark.usefixtures("short_waits")


@pytest.fixture
async def world() -> SuspectsWorld:
    return SuspectsWorld()


async def test_a_suspect_is_tried_alone_and_acknowledged_when_it_is_settled(world: SuspectsWorld) -> None:
    messages = await world.held(3)
    await world.suspects.add(messages)

    async with world.trying():
        await eventually(lambda: len(world.subscription.acknowledged) == 3)

    assert [message_id for message_id, _ in world.tried] == ["1", "2", "3"]
    assert (len(world.suspects), world.leases.leased()) == (0, [])


async def test_one_for_later_is_given_back(world: SuspectsWorld) -> None:
    world.disposition = Disposition.NACK
    await world.suspects.add(await world.held())

    async with world.trying():
        await eventually(lambda: world.subscription.failures.count("nack"))

    assert len(world.tried) == 1
    assert (len(world.suspects), world.leases.leased()) == (0, [])


async def test_one_that_stays_a_suspect_keeps_its_lease_and_is_tried_again_with_doubling_pauses(
    world: SuspectsWorld,
) -> None:
    world.disposition = Disposition.SET_ASIDE
    messages = await world.held()
    await world.suspects.add(messages)

    async with world.trying():
        await world.time_passes_until(lambda: len(world.tried) == 6)

    assert world.leases.leased() == messages
    pauses = [later - sooner for sooner, later in pairwise(world.times())]
    for pause, next_pause in pairwise(pauses):
        assert next_pause == pytest.approx(2 * pause, abs=2)
    assert pauses[0] >= BACKOFF


async def test_one_that_is_held_keeps_its_lease_and_its_pauses_do_not_grow(world: SuspectsWorld) -> None:
    world.disposition = Disposition.HOLD
    messages = await world.held()
    await world.suspects.add(messages)

    async with world.trying():
        await world.time_passes_until(lambda: len(world.tried) == 6)

    assert world.leases.leased() == messages
    for sooner, later in pairwise(world.times()):
        assert later - sooner == pytest.approx(LONGEST_PAUSE_SECONDS, abs=1)


@pytest.mark.parametrize("disposition", [each for each in Disposition if each not in UNPACED])
async def test_trials_that_fail_take_a_small_share_of_the_time(world: SuspectsWorld, disposition: Disposition) -> None:
    world.takes_seconds = 0.1
    world.disposition = disposition
    await world.suspects.add(await world.held(10))

    async with world.trying():
        await world.time_passes_until(lambda: len(world.tried) == 10, step_seconds=0.01)

    took = world.times()[-1] - world.times()[0]
    assert took >= 9 * 0.1 / TRIAL_TIME_SHARE * 0.99


@pytest.mark.parametrize("disposition", sorted(UNPACED))
async def test_a_trial_that_took_nothing_from_others_has_no_pause(
    world: SuspectsWorld, disposition: Disposition
) -> None:
    """After an hour in which every third request failed there are thousands of suspects, and all are good."""
    world.takes_seconds = 0.1
    world.disposition = disposition
    await world.suspects.add(await world.held(50))

    async with world.trying():
        await eventually(lambda: len(world.tried) == 50)

    assert world.times()[-1] - world.times()[0] == pytest.approx(49 * 0.1)


async def test_trials_that_fail_take_a_small_share_of_the_time_of_all_and_wait_no_longer_than_that(
    world: SuspectsWorld,
) -> None:
    """After a bad hour every fifth suspect is a bad one: the good ones must not wait for pauses that nobody needs."""
    world.takes_seconds = 0.1
    world.dispositions = [*[Disposition.ACK] * 4, Disposition.ACK_DEAD] * 10
    await world.suspects.add(await world.held(50))

    async with world.trying():
        await world.time_passes_until(lambda: len(world.tried) == 50, step_seconds=0.01)

    assert world.times()[-1] - world.times()[0] == pytest.approx(49 * 0.1, abs=0.1)


async def test_good_trials_of_long_ago_allow_few_bad_ones_without_a_pause(world: SuspectsWorld) -> None:
    world.takes_seconds = 0.1
    world.dispositions = [*[Disposition.ACK] * 100, *[Disposition.ACK_DEAD] * 20]
    await world.suspects.add(await world.held(120))

    async with world.trying():
        await world.time_passes_until(lambda: len(world.tried) == 120, step_seconds=0.01)

    took = world.times()[-1] - world.times()[100]
    assert took >= 19 * 0.1 / TRIAL_TIME_SHARE * 0.99 - LONGEST_PAUSE_SECONDS


async def test_after_a_trial_that_took_long_the_pause_is_bounded(world: SuspectsWorld) -> None:
    world.takes_seconds = 20.0
    world.disposition = Disposition.ACK_DEAD
    await world.suspects.add(await world.held(2))

    async with world.trying():
        await world.time_passes_until(lambda: len(world.tried) == 2, step_seconds=0.1)

    first, second = world.times()
    assert 20 + LONGEST_PAUSE_SECONDS <= second - first < 20 + 2 * LONGEST_PAUSE_SECONDS


async def test_a_trial_that_hangs_does_not_keep_others_from_theirs_but_only_some_hang_at_once(
    world: SuspectsWorld,
) -> None:
    world.gate = anyio.Event()
    await world.suspects.add(await world.held(TRIALS_AT_ONCE + 3))

    async with world.trying():
        await world.time_passes_until(lambda: world.in_work == TRIALS_AT_ONCE)
        world.clock.advance(5)
        await checked()
        assert len(world.tried) == TRIALS_AT_ONCE
        world.gate.set()
        await world.time_passes_until(lambda: len(world.subscription.acknowledged) == TRIALS_AT_ONCE + 3)


async def test_a_crash_gives_its_message_back_and_the_others_are_tried(world: SuspectsWorld) -> None:
    world.error = RuntimeError("a bug")
    await world.suspects.add(await world.held())

    async with world.trying():
        await eventually(lambda: world.subscription.failures.count("nack"))
        world.error = None
        await world.suspects.add(await world.held())
        await world.time_passes_until(lambda: world.subscription.acknowledged)

    assert world.subscription.acknowledged == ["2"]


async def test_while_the_circuit_is_open_a_trial_waits_to_be_the_probe(world: SuspectsWorld) -> None:
    world.open_circuit()
    await world.suspects.add(await world.held(2))

    async with world.trying():
        await anyio.sleep(2 * PROBE_SECONDS)
        assert world.tried == []
        world.gate = anyio.Event()
        world.clock.advance(PROBE_SECONDS)
        await eventually(lambda: world.in_work == 1)
        await anyio.sleep(2 * PROBE_SECONDS)
        assert len(world.tried) == 1  # one probe at a time
        world.gate.set()
        await eventually(lambda: len(world.subscription.acknowledged) == 1)
        world.clock.advance(PROBE_SECONDS)
        await eventually(lambda: len(world.subscription.acknowledged) == 2)


async def test_with_an_open_circuit_none_is_tried_before_its_time(
    world: SuspectsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All wait for the probe side by side; the one that gets it tries what is due, and the others must look again."""
    world.disposition = Disposition.SET_ASIDE
    await world.suspects.add(await world.held())
    async with world.trying():
        await eventually(lambda: len(world.tried) == 1)  # it comes again after its pause
        world.disposition = Disposition.ACK
        world.open_circuit()
        monkeypatch.setattr("worker.suspects.CHECK_INTERVAL_SECONDS", 1.0)
        await world.suspects.add(await world.held())
        await anyio.sleep(2 * PROBE_SECONDS)
        world.clock.advance(PROBE_SECONDS)
        await eventually(lambda: world.subscription.acknowledged)
        await anyio.sleep(2 * PROBE_SECONDS)

    assert [message_id for message_id, _ in world.tried] == ["1", "2"]


async def test_a_probe_takes_the_suspect_that_was_tried_least(world: SuspectsWorld) -> None:
    """Bad events that are left alone open the circuit. A good one among them must not wait for a probe of each."""
    world.disposition = Disposition.SET_ASIDE
    *bad, good = await world.held(3)
    await world.suspects.add(bad)
    async with world.trying():
        await world.time_passes_until(lambda: len(world.tried) == 6)
        world.circuit.pause()
        await checked()
        already = len(world.tried)
        world.open_circuit()
        world.clock.advance(10 * BACKOFF * already)  # they are due now, and longer than the next one
        await world.suspects.add([good])
        world.circuit.resume()
        await eventually(lambda: len(world.tried) > already)

    assert world.tried[already][0] == good.message_id


async def test_stopping_lets_a_trial_finish_and_begins_no_other(world: SuspectsWorld) -> None:
    world.gate = anyio.Event()
    await world.suspects.add(await world.held(TRIALS_AT_ONCE + 1))

    async with world.trying():
        await world.time_passes_until(lambda: world.in_work == TRIALS_AT_ONCE)
        world.stopping.set()
        await anyio.wait_all_tasks_blocked()
        world.gate.set()

    assert len(world.subscription.acknowledged) == TRIALS_AT_ONCE
    assert len(world.suspects) == 1


async def test_a_cancelled_trial_keeps_its_message_to_be_given_back(world: SuspectsWorld) -> None:
    messages = await world.held()
    world.gate = anyio.Event()
    await world.suspects.add(messages)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.suspects.run)
        await eventually(lambda: world.in_work == 1)
        tasks.cancel_scope.cancel()

    assert world.leases.leased() == messages
    assert len(world.suspects) == 1


async def test_an_event_that_draws_500_is_dead_lettered_after_the_time_that_the_settings_promise() -> None:
    """Settings: "With six trials an event has failed for eight minutes"."""
    world = WorkerWorld(budget_seconds=0)
    ids, messages = await world.logged_and_pulled(2)
    world.leases.add(messages)
    world.forwarder.spoilers, world.forwarder.spoiling = {ids[0]}, SERVER_ERROR
    dispositions = await world.forwarding.forward(messages)
    assert dispositions == {messages[0].ack_id: Disposition.SET_ASIDE, messages[1].ack_id: Disposition.ACK}
    await world.suspects.add(messages[:1])
    began = world.clock.monotonic()

    def confirm() -> bool:
        world.circuit.confirmed()  # others all the time
        return world.row(ids[0]).state == ForwardState.DEAD

    async with world.running(lanes=0):
        await world.time_passes_until(confirm, step_seconds=1)

    row = world.row(ids[0])
    assert (row.attempts, row.alone_failures, row.last_reason) == (1 + 6, 6, "exhausted")
    assert 7 * 60 < world.clock.monotonic() - began < 10 * 60


async def test_a_suspect_that_is_confirmed_in_the_end_is_delivered_and_none_any_more() -> None:
    world = WorkerWorld(budget_seconds=0)
    (event_id,), messages = await world.logged_and_pulled(1)
    world.leases.add(messages)
    row = world.row(event_id)
    row.not_before, row.alone_failures = world.clock.now(), 2
    assert list((await world.forwarding.forward(messages)).values()) == [Disposition.SET_ASIDE]
    assert world.forwarder.requests == []
    await world.suspects.add(messages)

    async with world.running(lanes=0):
        await world.time_passes_until(lambda: world.subscription.acknowledged)

    row = world.row(event_id)
    assert (row.state, row.not_before, row.attempts) == (ForwardState.DELIVERED, None, 1)

"""Suspects: when they are tried, how much of the time that takes, and what becomes of them."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise, takewhile

import anyio
import pytest
import stamina

from shared.events.forward_ledger import ForwardState
from tests.support.eventually import eventually
from tests.support.fakes.scripted_forwarder import REJECTED, SERVER_ERROR, UNAVAILABLE
from tests.support.fakes.worker_world import PROBE_SECONDS, TickingClock, WorkerWorld
from worker.forwarding import Disposition
from worker.poison import ALLOWANCE
from worker.subscription import ReceivedMessage
from worker.suspects import LONGEST_PAUSE_SECONDS, MAX_SUSPECTS, SHARE, TRIALS_AT_ONCE, Suspects

BACKOFF = 15.0
CHECK = 0.002


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Constants that no setting reaches."""
    monkeypatch.setattr("worker.suspects.CHECK_SECONDS", CHECK)
    monkeypatch.setattr("worker.leases.EXTENSION_SECONDS", 0.005)
    with stamina.set_testing(True, attempts=1):
        yield


class World(WorkerWorld):
    """Suspects with a `try_alone` that says what the test says."""

    def __init__(self) -> None:
        super().__init__(suspect_backoff_seconds=BACKOFF)
        self.disposition = Disposition.ACK
        self.takes_seconds = 0.0
        self.tried: list[tuple[str, float]] = []
        """Message and when."""

        self.in_work = 0
        self.gate: anyio.Event | None = None
        self.error: Exception | None = None
        self.suspects = Suspects(
            try_alone=self.try_alone,
            leases=self.leases,
            circuit=self.circuit,
            clock=self.clock,
            stopping=self.stopping,
            backoff_seconds=BACKOFF,
        )

    async def try_alone(self, messages: Sequence[ReceivedMessage]) -> dict[str, Disposition]:
        (message,) = messages
        self.tried.append((message.message_id, self.clock.monotonic()))
        self.clock.advance(self.takes_seconds)
        self.in_work += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.in_work -= 1
        return {message.ack_id: self.disposition}

    async def held(self, count: int = 1) -> list[ReceivedMessage]:
        """Messages that were pulled."""
        await self.log(count)
        messages = await self.subscription.pull(max_messages=count)
        self.leases.hold(messages)
        return messages

    def times(self) -> list[float]:
        return [at for _, at in self.tried]

    @asynccontextmanager
    async def trying(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.suspects.run)
            yield
            self.stopping.set()
            tasks.cancel_scope.deadline = anyio.current_time() + 1
        assert not tasks.cancel_scope.cancelled_caught, "did not stop"


@pytest.fixture
async def world() -> World:
    return World()


async def checked() -> None:
    """Time in which every loop has looked."""
    await anyio.sleep(5 * CHECK)


async def test_a_suspect_is_tried_alone_and_acknowledged_when_it_is_settled(world: World) -> None:
    messages = await world.held(3)
    await world.suspects.add(messages)

    async with world.trying():
        await eventually(lambda: len(world.subscription.acknowledged) == 3)

    assert [message_id for message_id, _ in world.tried] == ["1", "2", "3"]
    assert (len(world.suspects), world.leases.leased()) == (0, [])


async def test_one_for_later_is_given_back(world: World) -> None:
    world.disposition = Disposition.NACK
    await world.suspects.add(await world.held())

    async with world.trying():
        await eventually(lambda: world.subscription.failures.count("nack"))

    assert len(world.tried) == 1
    assert (len(world.suspects), world.leases.leased()) == (0, [])


@pytest.mark.parametrize("disposition", [Disposition.SET_ASIDE, Disposition.HOLD])
async def test_one_that_stays_a_suspect_keeps_its_lease_and_is_tried_again_with_doubling_pauses(
    world: World, disposition: Disposition
) -> None:
    world.disposition = disposition
    messages = await world.held()
    await world.suspects.add(messages)

    async with world.trying():
        await world.time_passes_until(lambda: len(world.tried) == 6)

    assert world.leases.leased() == messages
    pauses = [later - sooner for sooner, later in pairwise(world.times())]
    for pause, next_pause in pairwise(pauses):
        assert next_pause == pytest.approx(2 * pause, abs=2)
    assert pauses[0] >= BACKOFF


async def test_trials_take_a_small_share_of_the_time(world: World) -> None:
    world.takes_seconds = 0.1
    await world.suspects.add(await world.held(10))

    async with world.trying():
        await world.time_passes_until(lambda: len(world.tried) == 10, step_seconds=0.01)

    took = world.times()[-1] - world.times()[0]
    assert took >= 9 * 0.1 / SHARE * 0.99


async def test_after_a_trial_that_took_long_the_pause_is_bounded(world: World) -> None:
    world.takes_seconds = 20.0
    await world.suspects.add(await world.held(2))

    async with world.trying():
        await world.time_passes_until(lambda: len(world.tried) == 2, step_seconds=0.1)

    first, second = world.times()
    assert 20 + LONGEST_PAUSE_SECONDS <= second - first < 20 + 2 * LONGEST_PAUSE_SECONDS


async def test_a_trial_that_hangs_does_not_keep_others_from_theirs_but_only_some_hang_at_once(world: World) -> None:
    world.gate = anyio.Event()
    await world.suspects.add(await world.held(TRIALS_AT_ONCE + 3))

    async with world.trying():
        await world.time_passes_until(lambda: world.in_work == TRIALS_AT_ONCE)
        world.clock.advance(5)
        await checked()
        assert len(world.tried) == TRIALS_AT_ONCE
        world.gate.set()
        await world.time_passes_until(lambda: len(world.subscription.acknowledged) == TRIALS_AT_ONCE + 3)


async def test_no_more_wait_than_there_is_room_for_and_the_rest_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.suspects.MAX_SUSPECTS", 3)
    assert MAX_SUSPECTS > 3
    messages = await world.held(5)

    await world.suspects.add(messages[:2])
    await world.suspects.add(messages[2:])

    assert len(world.suspects) == 3
    assert world.leases.leased() == messages[:3]


async def test_a_crash_gives_its_message_back_and_the_others_are_tried(world: World) -> None:
    world.error = RuntimeError("a bug")
    await world.suspects.add(await world.held())

    async with world.trying():
        await eventually(lambda: world.subscription.failures.count("nack"))
        world.error = None
        await world.suspects.add(await world.held())
        await world.time_passes_until(lambda: world.subscription.acknowledged)

    assert world.subscription.acknowledged == ["2"]


async def test_while_the_circuit_is_open_a_trial_waits_to_be_the_probe(world: World) -> None:
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
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All wait for the probe side by side; the one that gets it tries what is due, and the others must look again."""
    world.disposition = Disposition.SET_ASIDE
    await world.suspects.add(await world.held())
    async with world.trying():
        await eventually(lambda: len(world.tried) == 1)  # it comes again after its pause
        world.disposition = Disposition.ACK
        world.open_circuit()
        monkeypatch.setattr("worker.suspects.CHECK_SECONDS", 1.0)
        await world.suspects.add(await world.held())
        await anyio.sleep(2 * PROBE_SECONDS)
        world.clock.advance(PROBE_SECONDS)
        await eventually(lambda: world.subscription.acknowledged)
        await anyio.sleep(2 * PROBE_SECONDS)

    assert [message_id for message_id, _ in world.tried] == ["1", "2"]


async def test_stopping_lets_a_trial_finish_and_begins_no_other(world: World) -> None:
    world.gate = anyio.Event()
    await world.suspects.add(await world.held(TRIALS_AT_ONCE + 1))

    async with world.trying():
        await world.time_passes_until(lambda: world.in_work == TRIALS_AT_ONCE)
        world.stopping.set()
        await anyio.wait_all_tasks_blocked()
        world.gate.set()

    assert len(world.subscription.acknowledged) == TRIALS_AT_ONCE
    assert len(world.suspects) == 1


async def test_a_cancelled_trial_keeps_its_message_to_be_given_back(world: World) -> None:
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
    world.leases.hold(messages)
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
    world.leases.hold(messages)
    row = world.row(event_id)
    row.not_before, row.alone_failures = world.clock.now(), 2
    assert list((await world.forwarding.forward(messages)).values()) == [Disposition.SET_ASIDE]
    assert world.forwarder.requests == []
    await world.suspects.add(messages)

    async with world.running(lanes=0):
        await world.time_passes_until(lambda: world.subscription.acknowledged)

    row = world.row(event_id)
    assert (row.state, row.not_before, row.attempts) == (ForwardState.DELIVERED, None, 1)


# -- among good events, with everything else of a worker


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> WorkerWorld:
    monkeypatch.setattr("worker.pull_loop.PROBE_PULL_SECONDS", 0.01)  # no setting reaches it
    return WorkerWorld(clock=TickingClock())


async def traffic_until(
    world: WorkerWorld, condition: Callable[[], object], *, step_seconds: float = 1.0, seconds: float = 20.0
) -> list[str]:
    """Let time pass in steps, each with a good event, until it comes true; the good ones."""
    good: list[str] = []
    with anyio.move_on_after(seconds):
        while not condition():
            world.clock.advance(step_seconds)
            good += [event.event_id for event in await world.log(1, "traffic")]
            await anyio.sleep(0.003)
    assert condition(), f"did not come true within {seconds:g} s"
    return good


def all_are(world: WorkerWorld, event_ids: Iterable[str], state: ForwardState) -> bool:
    return all(world.row(event_id).state == state for event_id in event_ids)


@pytest.mark.parametrize("bad_name", ["bad", "good"])
async def test_many_bad_events_that_come_first_and_alone_hold_up_no_good_ones_and_are_all_dead_lettered(
    worker: WorkerWorld, bad_name: str
) -> None:
    bad = {event.event_id for event in await worker.log(400, bad_name)}
    worker.forwarder.spoilers = bad
    worker.forwarder.on_send = lambda: worker.clock.advance(0.01)

    async with worker.running(lanes=2):
        await eventually(lambda: worker.circuit.open_reason)
        assert len(worker.dead_letters()) <= ALLOWANCE
        before = len(worker.forwarder.requests)
        good = [event.event_id for event in await worker.log(600, "good")]
        if bad_name != "good":
            await worker.time_passes_until(
                lambda: all_are(worker, good, ForwardState.DELIVERED), step_seconds=PROBE_SECONDS
            )
            failed_before = list(takewhile(lambda request: set(request) <= bad, worker.forwarder.requests[before:]))
            assert len(failed_before) <= 10
        await traffic_until(worker, lambda: all_are(worker, bad, ForwardState.DEAD))
        await traffic_until(worker, lambda: all_are(worker, good, ForwardState.DELIVERED))

    assert Counter(worker.dead_letters()) == Counter((event_id, "http_400") for event_id in bad)
    assert sum(worker.row(event_id).possible_duplicates for event_id in [*bad, *good]) == 0
    assert max(worker.forwarder.taken.values()) == 1


@pytest.mark.parametrize("name", ["poisoned", "good"])
async def test_a_few_events_that_always_draw_500_are_found_and_dead_lettered_beside_good_traffic(
    worker: WorkerWorld, name: str
) -> None:
    good = [event.event_id for event in await worker.log(250, "good")]
    bad = {event.event_id for event in await worker.log(5, name)}
    good += [event.event_id for event in await worker.log(245, "good")]
    worker.forwarder.spoilers, worker.forwarder.spoiling = bad, SERVER_ERROR

    async with worker.running(lanes=2):
        good += await traffic_until(worker, lambda: all_are(worker, good, ForwardState.DELIVERED), step_seconds=0.2)
        assert worker.dead_letters() == []
        good += await traffic_until(worker, lambda: all_are(worker, bad, ForwardState.DEAD))
        await traffic_until(worker, lambda: all_are(worker, good, ForwardState.DELIVERED))

    assert Counter(worker.dead_letters()) == Counter((event_id, "exhausted") for event_id in bad)
    rows = [worker.row(event_id) for event_id in bad]
    assert {row.alone_failures for row in rows} == {6}
    for event_id, copies in worker.forwarder.taken.items():
        assert copies <= 1 + worker.row(event_id).possible_duplicates


async def test_a_poisoned_event_that_is_alone_is_found_once_others_come(worker: WorkerWorld) -> None:
    (bad,) = [event.event_id for event in await worker.log(1, "poisoned")]
    worker.forwarder.spoilers, worker.forwarder.spoiling = {bad}, SERVER_ERROR

    async with worker.running(lanes=2):
        await worker.time_passes_until(lambda: worker.circuit.open_reason)
        for _ in range(50):
            worker.clock.advance(1)
            await anyio.sleep(0.002)
        assert (worker.row(bad).state, worker.row(bad).alone_failures) == (ForwardState.PENDING, 0)
        good = await traffic_until(worker, lambda: worker.row(bad).state == ForwardState.DEAD)
        await traffic_until(worker, lambda: all_are(worker, good, ForwardState.DELIVERED))

    assert worker.dead_letters() == [(bad, "exhausted")]


async def test_an_outage_in_the_middle_dead_letters_no_suspect(worker: WorkerWorld) -> None:
    (bad,) = [event.event_id for event in await worker.log(1, "flaky")]
    worker.forwarder.spoilers, worker.forwarder.spoiling = {bad}, SERVER_ERROR

    async with worker.running(lanes=2):
        await traffic_until(worker, lambda: worker.row(bad).alone_failures == 2)
        worker.forwarder.always = UNAVAILABLE
        worker.forwarder.spoilers = set()  # it was the same all the time
        await worker.log(3, "traffic")
        await worker.time_passes_until(lambda: worker.circuit.open_reason)
        for _ in range(500):
            worker.clock.advance(1)
            await anyio.sleep(0.002)
        assert worker.row(bad).alone_failures <= 3
        worker.forwarder.always = None
        await worker.time_passes_until(
            lambda: worker.row(bad).state == ForwardState.DELIVERED, step_seconds=1, seconds=20
        )

    assert worker.dead_letters() == []


async def test_an_api_that_changed_brings_no_name_into_disrepute(worker: WorkerWorld) -> None:
    worker.forwarder.always = REJECTED
    await worker.log(100, "good")

    async with worker.running(lanes=2):
        await eventually(lambda: worker.circuit.open_reason)
        await worker.time_passes_until(lambda: len(worker.forwarder.requests) > 60)
        assert not worker.guilt.is_notorious("good")
        worker.forwarder.always = None
        await worker.time_passes_until(lambda: not worker.subscription.backlog, step_seconds=2, seconds=20)

    assert len(worker.dead_letters()) <= ALLOWANCE
    assert worker.states().count(ForwardState.DELIVERED) == 100 - len(worker.dead_letters())

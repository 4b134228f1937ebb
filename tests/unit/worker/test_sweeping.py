"""Sweeps: what a rule held comes again once it has ended, what it dead-letters comes at once; whoever dies."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from shared.errors import PublishFailedError, StorageUnavailableError
from shared.events.event import Event
from shared.events.rules import Match, RuleAction
from shared.process.current_rules import FRESH_SECONDS, CurrentRules
from tests.support.eventually import eventually
from tests.support.fakes.memory_rules import MemoryRuleTable
from tests.support.fakes.reconciling import ReconcilingWorld
from tests.support.sample_events import sample_event, sample_row
from tests.support.sample_rules import AUDIT, sample_rule
from worker import sweeping
from worker.reconciler import Reconciler
from worker.sweeping import SETTLING_SECONDS, SWEEP_SECONDS, Sweeping


class World(ReconcilingWorld):
    """Several workers' sweeps over the same tables."""

    def __init__(self) -> None:
        super().__init__()
        self.table = MemoryRuleTable(self.store)
        self.rules = CurrentRules(self.table, self.clock)
        self.is_resting = False

    def sweeping(self) -> Sweeping:
        def new_round(chosen: Callable[[Event], bool], is_resting: Callable[[], bool]) -> Reconciler:
            return self.reconciler(is_resting=is_resting, after_seconds=0.0, force=True, chosen=chosen)

        return Sweeping(table=self.table, rules=self.rules, new_round=new_round, is_resting=lambda: self.is_resting)

    async def pending(self, name: str, count: int = 1) -> set[str]:
        events = [sample_event(name) for _ in range(count)]
        await self.repository.append([sample_row(event) for event in events])
        self.clock.advance(0.001)
        return {event.event_id for event in events}

    async def rule(self, action: RuleAction = RuleAction.HOLD, **fields: Any) -> str:
        made = sample_rule(action, now=self.clock.now(), match=Match(event_name="held"), **fields)
        await self.table.add([made], AUDIT)
        await self.rules.load()
        return made.rule_id

    async def ended(self, rule_id: str, *, seconds_ago: float = SETTLING_SECONDS) -> None:
        await self.table.remove([rule_id], "bob", AUDIT)
        self.clock.advance(seconds_ago)
        await self.rules.load()


@pytest.fixture
async def world() -> World:
    return World()


async def test_what_the_rule_held_is_published_once_it_has_ended_and_nothing_else(world: World) -> None:
    held = await world.pending("held", 3)
    await world.pending("other")
    rule_id = await world.rule()
    assert await world.sweeping().sweep_due() == 0

    await world.ended(rule_id)

    assert await world.sweeping().sweep_due() == 1
    assert set(world.published_ids) == held
    assert world.store.rules[rule_id].swept_at is not None
    assert await world.sweeping().sweep_due() == 0


async def test_events_that_are_not_due_for_the_reconciler_are_swept_too(world: World) -> None:
    (held,) = await world.pending("held")
    await world.republishing.mark_republished([held], intervals=[86_400])
    await world.ended(await world.rule())
    assert await world.sweeping().sweep_due() == 1
    assert world.published_ids == [held]


async def test_a_sweep_waits_until_every_process_has_heard_of_the_end(world: World) -> None:
    assert SETTLING_SECONDS > FRESH_SECONDS
    held = await world.pending("held")
    await world.ended(await world.rule(), seconds_ago=SETTLING_SECONDS - 0.1)
    assert await world.sweeping().sweep_due() == 0

    world.clock.advance(0.2)

    assert await world.sweeping().sweep_due() == 1
    assert set(world.published_ids) == held


async def test_what_a_rule_dead_letters_is_published_while_it_stands(world: World) -> None:
    doomed = await world.pending("held")
    await world.rule(RuleAction.DEAD_LETTER)
    world.clock.advance(SETTLING_SECONDS)

    assert await world.sweeping().sweep_due() == 1

    assert set(world.published_ids) == doomed


@pytest.mark.parametrize("action", [RuleAction.REFUSE, RuleAction.STORE_ONLY, RuleAction.PAUSE, RuleAction.PROBE])
async def test_other_rules_have_no_sweep(world: World, action: RuleAction) -> None:
    await world.pending("held")
    await world.ended(await world.rule(action))
    assert await world.sweeping().sweep_due() == 0
    assert world.published_ids == []


async def test_one_of_several_workers_sweeps(world: World) -> None:
    held = await world.pending("held", 5)
    await world.ended(await world.rule())
    swept: list[int] = []

    async def sweep() -> None:
        swept.append(await world.sweeping().sweep_due())

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(sweep)

    assert sorted(swept) == [0, 0, 0, 1]
    assert sorted(world.published_ids) == sorted(held)


async def test_a_sweep_that_was_cut_off_is_begun_again_by_another_worker(world: World) -> None:
    held = await world.pending("held")
    rule_id = await world.rule()
    await world.ended(rule_id)
    world.topic.failures.fail_next("publish", PublishFailedError("down"))
    with pytest.raises(PublishFailedError):
        await world.sweeping().sweep_due()
    await world.rules.load()
    assert await world.sweeping().sweep_due() == 0, "the first may still be at it"

    world.clock.advance(SWEEP_SECONDS)

    assert await world.sweeping().sweep_due() == 1
    assert set(world.published_ids) == held
    assert world.store.rules[rule_id].swept_at is not None


async def test_a_sweep_that_has_to_rest_is_not_done(world: World) -> None:
    await world.pending("held")
    rule_id = await world.rule()
    await world.ended(rule_id)
    world.is_resting = True

    assert await world.sweeping().sweep_due() == 0

    assert world.store.rules[rule_id].swept_at is None


async def test_a_long_sweep_keeps_other_workers_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "RENEW_SECONDS", 0.001)
    await world.pending("held")
    rule_id = await world.rule()
    await world.ended(rule_id)
    gate = world.topic.failures.hold("publish")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.sweeping().sweep_due)
        await eventually(lambda: world.topic.failures.waiting("publish"))
        world.clock.advance(SWEEP_SECONDS * 2)
        renewed = world.table.failures.count("begin_sweep")
        await eventually(lambda: world.table.failures.count("begin_sweep") > renewed + 1)
        await world.rules.load()
        assert await world.sweeping().sweep_due() == 0
        gate.set()
    assert world.store.rules[rule_id].swept_at is not None


async def test_neither_an_outage_nor_a_bug_ends_the_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "CHECK_SECONDS", 0.001)
    held = await world.pending("held")
    await world.ended(await world.rule())
    world.table.failures.fail_next("begin_sweep", StorageUnavailableError("down"))
    world.table.failures.fail_next("begin_sweep", RuntimeError("a bug"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.sweeping().run_forever)
        await eventually(lambda: set(world.published_ids) == held)
        tasks.cancel_scope.cancel()


async def test_a_sweep_that_met_a_bug_is_not_done_and_is_begun_again(world: World) -> None:
    held = await world.pending("held")
    rule_id = await world.rule()
    await world.ended(rule_id)
    world.republishing.failures.fail_next("unpublished", RuntimeError("a bug"))

    assert await world.sweeping().sweep_due() == 0
    assert world.store.rules[rule_id].swept_at is None

    world.clock.advance(SWEEP_SECONDS)
    await world.rules.load()
    assert await world.sweeping().sweep_due() == 1
    assert set(world.published_ids) == held

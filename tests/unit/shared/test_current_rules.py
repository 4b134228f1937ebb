"""The rules as a process knows them: fresh, or the last known ones, each until its end."""

from datetime import timedelta
from typing import Any

import anyio
import pytest

from shared.errors import StorageUnavailableError
from shared.events.rules import RuleAction
from shared.process import current_rules
from shared.process.current_rules import FRESH_SECONDS, CurrentRules
from tests.support.eventually import eventually
from tests.support.fakes.memory_event_log import MemoryStore
from tests.support.fakes.memory_rules import MemoryRuleTable
from tests.support.sample_rules import AUDIT, sample_rule
from tests.support.wire.ingress import captured_log

DOWN = StorageUnavailableError("down")


class World:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = self.store.clock
        self.table = MemoryRuleTable(self.store)
        self.rules = CurrentRules(self.table, self.clock)

    async def add(self, action: RuleAction = RuleAction.HOLD, **fields: Any) -> str:
        rule = sample_rule(action, now=self.clock.now(), **fields)
        await self.table.add([rule], AUDIT)
        return rule.rule_id

    def active(self) -> list[str]:
        return [rule.rule_id for action in RuleAction for rule in self.rules.active.of(action)]


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(current_rules, "REFRESH_SECONDS", 0.005)
    return World()


async def test_a_start_knows_the_rules_that_there_are(world: World) -> None:
    rule_id = await world.add()
    await world.rules.load()
    assert world.active() == [rule_id]


async def test_a_start_fails_where_they_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_rules, "START_TIMEOUT_SECONDS", 0.01)
    world.table.failures.fail_until_mended("read_rules", DOWN)
    with pytest.raises(StorageUnavailableError):
        await world.rules.load()


async def test_rules_that_come_and_go_are_known_after_the_next_read(world: World) -> None:
    await world.rules.load()
    async with anyio.create_task_group() as tasks:
        stopping = anyio.Event()
        tasks.start_soon(world.rules.refresh_until, stopping)
        rule_id = await world.add(RuleAction.REFUSE)
        await eventually(lambda: world.active() == [rule_id])
        await world.table.remove([rule_id], "bob", AUDIT)
        await eventually(lambda: world.active() == [])
        stopping.set()


async def test_while_spanner_is_away_the_last_known_rules_stand_and_are_not_fresh(world: World) -> None:
    rule_id = await world.add(RuleAction.REFUSE)
    await world.rules.load()
    with captured_log("INFO") as log:
        async with anyio.create_task_group() as tasks:
            stopping = anyio.Event()
            tasks.start_soon(world.rules.refresh_until, stopping)
            world.table.failures.fail_until_mended("read_rules", DOWN)
            failed = world.table.failures.count("read_rules")
            await eventually(lambda: world.table.failures.count("read_rules") > failed + 3)
            assert world.active() == [rule_id]
            world.clock.advance(FRESH_SECONDS + 0.1)
            assert not world.rules.are_fresh
            assert world.active() == [rule_id]
            world.table.failures.mend()
            await eventually(lambda: world.rules.are_fresh)
            stopping.set()
    assert log.text.count("rules_not_read") == 1


async def test_a_rule_expires_although_spanner_is_away(world: World) -> None:
    await world.add(expires_at=world.clock.now() + timedelta(seconds=30))
    lasting = await world.add(RuleAction.REFUSE)
    await world.rules.load()
    assert len(world.active()) == 2
    world.clock.advance(29.9)
    assert len(world.active()) == 2
    world.clock.advance(0.1)
    assert world.active() == [lasting]


async def test_a_bug_in_a_read_ends_nothing(world: World) -> None:
    await world.rules.load()
    world.table.failures.fail_next("read_rules", RuntimeError("a bug"))
    async with anyio.create_task_group() as tasks:
        stopping = anyio.Event()
        tasks.start_soon(world.rules.refresh_until, stopping)
        rule_id = await world.add(RuleAction.REFUSE)
        await eventually(lambda: world.active() == [rule_id])
        stopping.set()


async def test_after_a_slow_answer_the_time_is_late_and_never_early(world: World) -> None:
    async with anyio.create_task_group() as tasks:
        gate = world.table.failures.hold("read_rules")
        tasks.start_soon(world.rules.load)
        await eventually(lambda: world.table.failures.waiting("read_rules"))
        world.clock.advance(4)  # the answer takes so long, and is of the time at its end
        gate.set()
    assert world.rules.now == world.clock.now()
    world.clock.advance(FRESH_SECONDS - 3.9)
    assert not world.rules.are_fresh, "fresh from when it was asked"

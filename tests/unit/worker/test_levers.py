"""Pause, resume and probe now, as rules say."""

from datetime import timedelta
from typing import Any

import anyio
import pytest

from shared.events.forward_ledger import ForwardState
from shared.events.rules import Match, RuleAction
from tests.support.eventually import eventually
from tests.support.fakes.worker_world import WorkerWorld
from tests.support.sample_rules import AUDIT, sample_rule
from worker.levers import Levers


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def add(world: WorkerWorld, action: RuleAction, **fields: Any) -> str:
    rule = sample_rule(action, now=world.clock.now(), match=Match(), **fields)
    await world.rule_table.add([rule], AUDIT)
    await world.rules.load()
    return rule.rule_id


async def test_a_paused_worker_sends_nothing_and_goes_on_when_it_is_resumed(world: WorkerWorld) -> None:
    levers = Levers(world.rules, world.circuit)
    async with world.running(lanes=2):
        rule_id = await add(world, RuleAction.PAUSE)
        levers.apply()
        await world.log(3)
        await anyio.wait_all_tasks_blocked()
        assert world.circuit.is_paused
        assert world.forwarder.requests == []

        await world.rule_table.remove([rule_id], "bob", AUDIT)
        await world.rules.load()
        levers.apply()

        await eventually(lambda: world.states() == [ForwardState.DELIVERED] * 3)


async def test_a_pause_ends_when_it_expires(world: WorkerWorld) -> None:
    levers = Levers(world.rules, world.circuit)
    await add(world, RuleAction.PAUSE, expires_at=world.clock.now() + timedelta(seconds=60))
    levers.apply()
    assert world.circuit.is_paused
    world.clock.advance(60)
    levers.apply()
    assert not world.circuit.is_paused


async def test_a_batch_in_work_ends_and_its_rest_waits(world: WorkerWorld) -> None:
    await world.log(3)
    messages = await world.pull()
    world.circuit.pause()

    decided = await world.forwarding.forward(messages)

    assert {each.value for each in decided.values()} == {"hold"}
    assert world.forwarder.requests == []
    assert all(row.claim_token is None for row in world.store.ledger.values())


async def test_while_it_is_open_a_paused_circuit_is_not_even_probed(world: WorkerWorld) -> None:
    world.open_circuit()
    world.circuit.pause()
    world.clock.advance(600)
    with anyio.move_on_after(0.02) as waited:
        await world.circuit.admit()
    assert waited.cancelled_caught
    world.circuit.resume()
    assert (await world.circuit.admit()).is_probe


async def test_each_probe_that_is_asked_for_is_due_at_once_and_one_only(world: WorkerWorld) -> None:
    levers = Levers(world.rules, world.circuit)
    world.open_circuit()
    world.circuit.failed("http_429", 120.0, is_limit=True, is_probe=True)
    before = world.circuit.next_probe_at
    assert before is not None
    assert before > world.clock.now() + timedelta(seconds=20)

    await add(world, RuleAction.PROBE)
    levers.apply()

    assert world.circuit.next_probe_at == world.clock.now()
    world.circuit.failed("http_503", is_probe=True)
    levers.apply()
    after = world.circuit.next_probe_at
    assert after is not None
    assert after > world.clock.now(), "the same rule does not ask twice"


async def test_a_probe_asked_for_before_the_start_is_not_for_this_process(world: WorkerWorld) -> None:
    await add(world, RuleAction.PROBE)
    levers = Levers(world.rules, world.circuit)
    world.open_circuit()
    before = world.circuit.next_probe_at
    levers.apply()
    assert world.circuit.next_probe_at == before


async def test_a_probe_of_a_closed_circuit_changes_nothing(world: WorkerWorld) -> None:
    levers = Levers(world.rules, world.circuit)
    await add(world, RuleAction.PROBE)
    levers.apply()
    assert world.circuit.next_probe_at is None
    assert not (await world.circuit.admit()).is_probe


async def test_the_rules_are_applied_after_each_read_and_at_intervals(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.levers.CHECK_SECONDS", 0.001)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Levers(world.rules, world.circuit).run_forever)
        await add(world, RuleAction.PAUSE, expires_at=world.clock.now() + timedelta(seconds=60))
        await eventually(lambda: world.circuit.is_paused)
        world.clock.advance(61)
        await eventually(lambda: not world.circuit.is_paused)
        tasks.cancel_scope.cancel()

"""What every RuleTable and AuditTrail does."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.errors import RowExistsError
from shared.events.rules import Match, RuleAction
from tests.support.emulators.storages import Storage
from tests.support.sample_rules import AUDIT, sample_rule


async def test_a_read_without_rules_has_the_time(storage: Storage) -> None:
    before = await storage.now()
    read = await storage.rules.read()
    assert read.rules == ()
    assert before <= read.at <= await storage.now()


async def test_a_rule_is_read_as_it_was_written_with_the_time_of_its_commit(storage: Storage) -> None:
    now = await storage.now()
    match = Match(name_prefix="order_", event_type="billing", caller="o'brien@example.com")
    rule = sample_rule(RuleAction.REFUSE, now=now, match=match, why="it's wrong")

    await storage.rules.add([rule], AUDIT)

    (read,) = (await storage.rules.read()).rules
    assert read == replace(rule, created_at=read.created_at)
    assert now <= read.created_at <= await storage.now()


async def test_a_rule_that_expired_or_was_removed_is_not_read_but_is_in_the_history(storage: Storage) -> None:
    now = await storage.now()
    expired = sample_rule(RuleAction.REFUSE, now=now, expires_at=now + timedelta(milliseconds=1))
    removed, active = sample_rule(RuleAction.STORE_ONLY, now=now), sample_rule(RuleAction.PAUSE, now=now)
    await storage.rules.add([expired, removed, active], AUDIT)

    assert await storage.rules.remove([removed.rule_id], "bob", AUDIT) == [removed.rule_id]
    await storage.time_passes(0.01)

    assert [each.rule_id for each in (await storage.rules.read()).rules] == [active.rule_id]
    history = {each.rule_id: each for each in await storage.rules.history()}
    assert set(history) == {expired.rule_id, removed.rule_id, active.rule_id}
    assert history[removed.rule_id].removed_by == "bob"
    assert history[removed.rule_id].removed_at is not None
    assert history[active.rule_id].removed_at is None


@pytest.mark.parametrize("action", [RuleAction.HOLD, RuleAction.DEAD_LETTER])
async def test_a_rule_is_read_until_its_sweep_is_done(storage: Storage, action: RuleAction) -> None:
    rule = sample_rule(action, now=await storage.now())
    await storage.rules.add([rule], AUDIT)
    await storage.rules.remove([rule.rule_id], "bob", AUDIT)
    assert [each.rule_id for each in (await storage.rules.read()).rules] == [rule.rule_id]

    assert await storage.rules.begin_sweep(rule.rule_id, seconds=60)
    await storage.rules.end_sweep(rule.rule_id)

    assert (await storage.rules.read()).rules == ()
    assert not await storage.rules.begin_sweep(rule.rule_id, seconds=60)


async def test_one_process_at_a_time_sweeps_and_another_after_its_time(storage: Storage) -> None:
    rule = sample_rule(now=await storage.now())
    await storage.rules.add([rule], AUDIT)

    assert await storage.rules.begin_sweep(rule.rule_id, seconds=1)
    assert not await storage.rules.begin_sweep(rule.rule_id, seconds=60)
    await storage.time_passes(1.01)

    assert await storage.rules.begin_sweep(rule.rule_id, seconds=60)


async def test_a_rule_that_does_not_exist_is_neither_swept_nor_removed(storage: Storage) -> None:
    assert not await storage.rules.begin_sweep("0badcafe", seconds=60)
    assert await storage.rules.remove(["0badcafe"], "bob", AUDIT) == []
    assert await storage.audit.latest(since=await storage.now() - timedelta(hours=1), limit=10) == []


async def test_a_rule_id_is_not_taken_twice(storage: Storage) -> None:
    rule = sample_rule(now=await storage.now())
    await storage.rules.add([rule], AUDIT)
    with pytest.raises(RowExistsError):
        await storage.rules.add([rule], AUDIT)


async def test_each_change_is_in_the_audit_trail_once(storage: Storage) -> None:
    began = await storage.now()
    rule = sample_rule(now=began)
    await storage.rules.add([rule], AUDIT)
    await storage.rules.remove([rule.rule_id], "bob", replace(AUDIT, who="bob", command="rules remove"))
    await storage.rules.remove([rule.rule_id], "bob", replace(AUDIT, who="bob", command="rules remove"))

    found = await storage.audit.latest(since=began, limit=10)

    assert [(each.who, each.command) for each in found] == [("bob", "rules remove"), ("alice", "rules add")]
    assert dict(found[1].detail) == dict(AUDIT.detail)
    assert all(each.at is not None and each.at >= began for each in found)


async def test_the_audit_trail_is_read_from_a_time_and_up_to_a_limit(storage: Storage) -> None:
    for number in range(3):
        await storage.audit.write(replace(AUDIT, command=f"command {number}", why=None))
        await storage.time_passes(0.001)
    latest = await storage.audit.latest(since=await storage.now() - timedelta(hours=1), limit=2)
    assert [each.command for each in latest] == ["command 2", "command 1"]
    assert await storage.audit.latest(since=await storage.now() + timedelta(hours=1), limit=2) == []

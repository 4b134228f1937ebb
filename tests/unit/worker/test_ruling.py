"""Rules on pending events: held, or dead-lettered instead of sent."""

from collections.abc import Iterator

import pytest
import stamina

from shared.errors import PublishFailedError, StorageUnavailableError
from shared.events.forward_ledger import ForwardState
from shared.events.rules import Match, RuleAction
from shared.process.current_rules import FRESH_SECONDS
from tests.support.fakes.forwarding_batches import dead_letter_reasons, forward_all, forwarded, trial
from tests.support.fakes.worker_world import WorkerWorld
from tests.support.sample_rules import AUDIT, sample_rule
from worker.disposition import Disposition

HELD = Match(event_name="held")


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def rule(world: WorkerWorld, action: RuleAction, match: Match = HELD) -> str:
    made = sample_rule(action, now=world.clock.now(), match=match)
    await world.rule_table.add([made], AUDIT)
    await world.rules.load()
    return made.rule_id


async def test_a_held_event_is_acked_unclaimed_and_stays_pending_while_others_are_sent(world: WorkerWorld) -> None:
    await rule(world, RuleAction.HOLD)
    (held,) = await world.log(1, "held")
    (other,) = await world.log(1, "other")

    assert await forward_all(world) == [Disposition.ACK] * 2

    row = world.row(held.event_id)
    assert (row.state, row.attempts, row.claim_token) == (ForwardState.PENDING, 0, None)
    assert world.row(other.event_id).state == ForwardState.DELIVERED
    assert world.forwarder.requests == [[other.event_id]]


async def test_a_batch_of_held_events_alone_makes_no_call(world: WorkerWorld) -> None:
    await rule(world, RuleAction.HOLD)
    await world.log(3, "held")
    messages = await world.pull()
    world.journal.clear()

    assert await forwarded(world, messages) == [Disposition.ACK] * 3

    assert world.journal == []


async def test_a_process_that_may_not_know_that_the_rule_has_ended_keeps_the_message(world: WorkerWorld) -> None:
    await rule(world, RuleAction.HOLD)
    await world.log(1, "held")
    messages = await world.pull()
    world.clock.advance(FRESH_SECONDS + 1)

    assert await forwarded(world, messages) == [Disposition.HOLD]

    await world.rules.load()
    assert await forwarded(world, messages) == [Disposition.ACK]


async def test_once_the_rule_has_ended_a_held_event_is_sent(world: WorkerWorld) -> None:
    rule_id = await rule(world, RuleAction.HOLD)
    (held,) = await world.log(1, "held")
    await forward_all(world)
    await world.rule_table.remove([rule_id], "bob", AUDIT)
    await world.rules.load()
    await world.publish([held])

    assert await forward_all(world) == [Disposition.ACK]

    assert world.row(held.event_id).state == ForwardState.DELIVERED


async def test_a_suspect_and_a_probe_are_held_too(world: WorkerWorld) -> None:
    await rule(world, RuleAction.HOLD)
    await world.log(1, "held")
    assert await trial(world) is Disposition.ACK
    await world.log(1, "held")
    world.open_circuit()
    assert await forward_all(world) == [Disposition.ACK]
    assert world.forwarder.requests == []


async def test_what_is_confirmed_and_not_written_is_settled_although_a_rule_holds_it(world: WorkerWorld) -> None:
    (held,) = await world.log(1, "held")
    messages = await world.pull()
    world.ledger.failures.fail_until_mended("settle_delivered", StorageUnavailableError("down"))
    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.ledger.failures.mend()
    await rule(world, RuleAction.HOLD)

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.row(held.event_id).state == ForwardState.DELIVERED


async def test_an_event_that_a_rule_dead_letters_is_not_sent_and_says_why(world: WorkerWorld) -> None:
    await rule(world, RuleAction.DEAD_LETTER)
    (doomed,) = await world.log(1, "held")
    (other,) = await world.log(1, "other")

    assert await forward_all(world) == [Disposition.ACK_DEAD, Disposition.ACK]

    row = world.row(doomed.event_id)
    assert (row.state, row.last_reason, row.attempts) == (ForwardState.DEAD, "rule", 0)
    assert world.row(other.event_id).state == ForwardState.DELIVERED
    assert dead_letter_reasons(world) == ["rule"]
    assert world.forwarder.requests == [[other.event_id]]


async def test_where_its_dead_letter_cannot_be_published_it_is_neither_sent_nor_claimed_any_longer(
    world: WorkerWorld,
) -> None:
    await rule(world, RuleAction.DEAD_LETTER)
    (doomed,) = await world.log(1, "held")
    world.dead_letter_topic.failures.fail_next("publish", PublishFailedError("down"))

    assert await forward_all(world) == [Disposition.HOLD]

    row = world.row(doomed.event_id)
    assert (row.state, row.claim_token) == (ForwardState.PENDING, None)
    assert world.forwarder.requests == []


async def test_what_is_held_is_not_dead_lettered(world: WorkerWorld) -> None:
    await rule(world, RuleAction.DEAD_LETTER)
    await rule(world, RuleAction.HOLD)
    (held,) = await world.log(1, "held")
    await forward_all(world)
    assert world.row(held.event_id).state == ForwardState.PENDING
    assert world.dead_letters() == []


async def test_a_rule_takes_events_by_their_caller_and_type(world: WorkerWorld) -> None:
    await rule(world, RuleAction.HOLD, Match(caller="batch@example.com", event_type="billing"))
    (from_batch,) = await world.log(caller="batch@example.com")
    (from_other,) = await world.log(caller="other@example.com")
    await forward_all(world)
    assert world.row(from_batch.event_id).state == ForwardState.PENDING
    assert world.row(from_other.event_id).state == ForwardState.DELIVERED


async def test_where_its_death_cannot_be_written_it_is_written_later_and_never_sent(world: WorkerWorld) -> None:
    rule_id = await rule(world, RuleAction.DEAD_LETTER)
    (doomed,) = await world.log(1, "held")
    messages = await world.pull()
    world.ledger.failures.fail_until_mended("settle_dead", StorageUnavailableError("down"))
    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.ledger.failures.mend()
    await world.rule_table.remove([rule_id], "bob", AUDIT)
    await world.rules.load()

    assert await forwarded(world, messages) == [Disposition.ACK_DEAD]

    assert (world.row(doomed.event_id).state, world.row(doomed.event_id).last_reason) == (ForwardState.DEAD, "rule")
    assert world.forwarder.requests == []
    assert dead_letter_reasons(world) == ["rule"], "one letter"

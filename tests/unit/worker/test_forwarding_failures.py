"""What becomes of a batch when Spanner or Pub/Sub fail under it, or the process ends."""

from collections.abc import Iterator

import anyio
import pytest
import stamina

from shared.errors import PublishFailedError, StorageUnavailableError
from shared.events.attempt_history import HistoryKind, decode
from shared.events.forward_ledger import ForwardState
from shared.events.forward_message import OutgoingMessage
from tests.support.eventually import eventually
from tests.support.fakes.memory_replay_ledger import MemoryReplayLedger
from tests.support.fakes.scripted_failures import When
from tests.support.fakes.scripted_forwarder import REJECTED, SERVER_ERROR, TIMED_OUT, UNAVAILABLE, UNREACHABLE
from tests.support.fakes.worker_world import ATTEMPT_SECONDS, WorkerWorld
from tests.support.histories import explains
from worker.forwarding import SETTLE_MARGIN_SECONDS, Disposition
from worker.poison import ALLOWANCE
from worker.statsig.outcome import SendOutcome
from worker.subscription import ReceivedMessage

DOWN = StorageUnavailableError("down")
UNPUBLISHED = PublishFailedError("down")
TRIES = 2


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=TRIES):
        yield


@pytest.fixture
async def world() -> WorkerWorld:
    return WorkerWorld()


async def forwarded(world: WorkerWorld, messages: list[ReceivedMessage]) -> list[Disposition]:
    decided = await world.forwarding.forward(messages)
    return [decided[message.ack_id] for message in messages]


async def tried_alone(world: WorkerWorld, message: ReceivedMessage) -> Disposition:
    return (await world.forwarding.try_alone([message]))[message.ack_id]


def kinds(world: WorkerWorld, event_id: str) -> list[HistoryKind]:
    return [entry.kind for entry in decode(world.row(event_id).history)]


def accounted(world: WorkerWorld, event_id: str) -> tuple[int, int]:
    """Attempts and possible duplicates, as the history explains them."""
    row = world.row(event_id)
    assert explains(decode(row.history), row.attempts, row.possible_duplicates)
    return row.attempts, row.possible_duplicates


async def cancelled_while_held(world: WorkerWorld, messages: list[ReceivedMessage], held: str) -> None:
    """Forward, and end the process while that call of the ledger or of Statsig is running."""
    failures = world.forwarder.failures if held == "send" else world.ledger.failures
    failures.hold(held)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.forwarding.forward, messages)
        await eventually(lambda: failures.waiting(held))
        failures._gates.clear()  # only for the call that is running
        tasks.cancel_scope.cancel()


async def test_without_a_claim_nothing_is_sent_and_messages_are_held(world: WorkerWorld) -> None:
    _, messages = await world.logged_and_pulled(2)
    world.ledger.failures.fail_next("claim", DOWN)

    assert await forwarded(world, messages) == [Disposition.HOLD] * 2

    assert world.forwarder.requests == []
    assert world.circuit.open_reason is None


async def test_claims_that_keep_failing_do_not_open_the_circuit(world: WorkerWorld) -> None:
    """It knows nothing of Spanner."""
    _, messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, times=20)

    assert [await forwarded(world, messages) for _ in range(20)] == [[Disposition.HOLD]] * 20

    assert world.circuit.open_reason is None
    assert await forwarded(world, messages) == [Disposition.ACK]


async def test_a_claim_whose_answer_was_lost_is_released_and_keeps_nobody_away(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    assert await forwarded(world, messages) == [Disposition.HOLD]
    assert world.row(event_id).claim_token is None

    assert await forwarded(world, messages) == [Disposition.ACK]
    assert accounted(world, event_id) == (1, 0)


async def test_a_cancelled_claim_is_released(world: WorkerWorld) -> None:
    _, messages = await world.logged_and_pulled()

    await cancelled_while_held(world, messages, "claim")

    assert "release" in world.journal


async def test_a_claim_that_can_be_neither_heard_of_nor_released_is_resumed_by_the_same_process(
    world: WorkerWorld,
) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert accounted(world, event_id) == (1, 0)
    assert kinds(world, event_id) == [HistoryKind.ATTEMPT]


async def test_a_claim_that_can_be_neither_heard_of_nor_released_keeps_others_away_until_it_expires(
    world: WorkerWorld,
) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.start_process()

    assert await forwarded(world, messages) == [Disposition.NACK]
    world.clock.advance(91)
    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.forwarder.taken[event_id] == 1
    assert accounted(world, event_id) == (1, 1)  # another cannot know that nothing was sent


@pytest.mark.parametrize("second", When)
async def test_of_several_claims_that_cannot_be_heard_of_whichever_stands_is_resumed(
    world: WorkerWorld, second: When
) -> None:
    """Nothing was ever sent under any of them."""
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.ledger.failures.fail_next("claim", DOWN, when=second)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert accounted(world, event_id) == (1, 0)


async def test_a_claim_that_was_never_made_does_not_make_forget_one_that_stands(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("claim", DOWN, when=When.AFTER)
    world.ledger.failures.fail_next("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.ledger.failures.fail_next("claim", DOWN)  # and its release succeeds, and releases nothing

    assert await forwarded(world, messages) == [Disposition.HOLD]
    assert await forwarded(world, messages) == [Disposition.ACK]

    assert accounted(world, event_id) == (1, 0)


async def test_what_is_confirmed_but_not_settled_is_neither_done_nor_released(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)

    assert await forwarded(world, messages) == [Disposition.HOLD]

    row = world.row(event_id)
    assert row.state == ForwardState.PENDING
    assert row.claim_token is not None
    assert "release" not in world.journal


async def test_what_is_confirmed_but_not_settled_is_only_settled_when_it_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_until_mended("settle_delivered", DOWN)
    await forwarded(world, messages)
    assert await forwarded(world, messages) == [Disposition.NACK]
    world.ledger.failures.mend()
    world.clock.advance(1000)

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.forwarder.taken[event_id] == 1
    assert world.row(event_id).state == ForwardState.DELIVERED
    assert accounted(world, event_id) == (1, 0)


async def test_a_settlement_whose_answer_was_lost_is_repeated_and_done(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.ledger.failures.fail_next("settle_delivered", DOWN, when=When.AFTER)

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.forwarder.taken[event_id] == 1


async def test_what_cannot_be_noted_is_not_sent_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(TIMED_OUT)
    world.ledger.failures.fail_next("note", DOWN)

    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert len(world.forwarder.requests) == 1
    assert accounted(world, event_id) == (1, 1)  # by its release
    assert await forwarded(world, messages) == [Disposition.ACK]
    assert accounted(world, event_id) == (2, 1)


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
        world.ledger.failures.fail_until_mended("release", DOWN)  # nothing of the process's end arrives
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


async def test_a_note_whose_claim_another_has_taken_ends_sending(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(TIMED_OUT)

    def somebody_takes_over() -> None:
        row = world.row(event_id)
        row.claim_token, row.possible_duplicates = "another's", 7

    world.forwarder.on_send = somebody_takes_over

    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert len(world.forwarder.requests) == 1
    row = world.row(event_id)
    assert (row.claim_token, row.possible_duplicates) == ("another's", 7)


async def test_a_dead_letter_that_cannot_be_published_is_neither_settled_nor_done(world: WorkerWorld) -> None:
    event_ids, messages = await world.logged_and_pulled(4)
    world.forwarder.spoilers = {event_ids[1]}
    world.dead_letter_topic.failures.fail_next("publish", UNPUBLISHED)

    assert await forwarded(world, messages) == [Disposition.ACK, Disposition.HOLD, Disposition.ACK, Disposition.ACK]

    row = world.row(event_ids[1])
    assert (row.state, row.claim_token, row.last_reason) == (ForwardState.PENDING, None, "http_400")


async def test_a_dead_letter_that_cannot_be_settled_is_only_settled_when_it_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES)

    assert await forwarded(world, messages) == [Disposition.HOLD]
    assert world.row(event_id).state == ForwardState.PENDING
    assert world.row(event_id).claim_token is not None
    assert await forwarded(world, messages) == [Disposition.ACK]

    row = world.row(event_id)
    assert (row.state, row.last_reason) == (ForwardState.DEAD, "http_400")
    assert world.dead_letters() == [(event_id, "http_400")]
    assert world.forwarder.requests == [[event_id]]
    assert accounted(world, event_id) == (1, 0)


async def test_a_dead_letter_that_cannot_be_settled_for_long_is_published_and_sent_once(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_until_mended("settle_dead", DOWN)

    decided = [await forwarded(world, messages) for _ in range(3)]
    world.ledger.failures.mend()
    decided.append(await forwarded(world, messages))

    assert Disposition.ACK not in [disposition for dispositions in decided[:3] for disposition in dispositions]
    assert decided[3] == [Disposition.ACK]
    assert world.dead_letters() == [(event_id, "http_400")]
    assert world.forwarder.requests == [[event_id]]
    assert world.row(event_id).state == ForwardState.DEAD
    assert accounted(world, event_id) == (1, 0)


async def test_a_dead_letter_whose_claim_expired_unsettled_is_settled_by_the_process_that_published_it(
    world: WorkerWorld,
) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES)
    await forwarded(world, messages)
    world.clock.advance(91)

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.dead_letters() == [(event_id, "http_400")]
    assert accounted(world, event_id) == (1, 0)


async def test_a_dead_letter_that_was_replayed_meanwhile_is_sent_again(world: WorkerWorld) -> None:
    """An operator took it, and the claim with it: to settle it now would leave DEAD without anything to replay."""
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES)
    await forwarded(world, messages)
    world.clock.advance(91)
    await MemoryReplayLedger(world.store).reopen([event_id], max_replays=3)
    world.forwarder.spoilers = set()

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.row(event_id).state == ForwardState.DELIVERED


async def test_what_was_replayed_meanwhile_is_released_like_anything_else(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.spoilers = {event_id}
    world.ledger.failures.fail_next("settle_dead", DOWN, times=TRIES)
    await forwarded(world, messages)
    world.clock.advance(91)
    await MemoryReplayLedger(world.store).reopen([event_id], max_replays=3)
    world.forwarder.spoilers, world.forwarder.always = set(), UNAVAILABLE

    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert world.row(event_id).claim_token is None


async def test_poison_that_cannot_be_dead_lettered_is_left_for_later(world: WorkerWorld) -> None:
    await world.topic.publish([OutgoingMessage(b"poison", {})])
    _, messages = await world.logged_and_pulled()
    world.dead_letter_topic.failures.fail_next("publish", UNPUBLISHED)

    assert await forwarded(world, messages) == [Disposition.NACK, Disposition.ACK]


async def test_a_burial_that_ends_after_the_claim_is_settled_when_it_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)
    world.dead_letter_topic.failures.hold("publish")
    dispositions: list[Disposition] = []

    async def forward() -> None:
        dispositions.extend(await forwarded(world, messages))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forward)
        await eventually(lambda: world.dead_letter_topic.failures.waiting("publish"))
        world.clock.advance(91)
        world.dead_letter_topic.failures.mend()

    assert dispositions == [Disposition.HOLD]
    assert world.row(event_id).state == ForwardState.PENDING
    # Nobody else took it over: what was published is settled, neither sent nor published again.
    assert await forwarded(world, messages) == [Disposition.ACK]
    row = world.row(event_id)
    assert (row.state, row.attempts, row.possible_duplicates) == (ForwardState.DEAD, 1, 0)
    assert len(world.dead_letter_topic.published) == 1


async def test_nothing_is_buried_when_the_claim_is_about_to_end(world: WorkerWorld) -> None:
    _, messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)
    world.forwarder.on_send = lambda: world.clock.advance(89.5)

    assert await forwarded(world, messages) == [Disposition.HOLD]

    assert world.dead_letter_topic.published == []


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize(
    ("answer", "duplicates"),
    [(UNREACHABLE, 0), (REJECTED, 0), (TIMED_OUT, 1), (UNAVAILABLE, 1)],
    ids=["connection_refused", "http_400", "timeout", "http_503"],
)
async def test_a_release_that_failed_costs_the_same_process_no_possible_duplicate(
    answer: SendOutcome, duplicates: int, when: When
) -> None:
    world = WorkerWorld(budget_seconds=0)
    world.random.share = 0.5
    (event_id,), messages = await world.logged_and_pulled()
    for _ in range(ALLOWANCE):
        world.guilt._allows_one_more(world.clock.monotonic())  # a rejection makes a suspect
    world.forwarder.script.append(answer)
    world.ledger.failures.fail_next("release", DOWN, when=when)
    (disposition,) = await forwarded(world, messages)
    world.clock.advance(100)  # past its claim, and any pause

    assert (
        await tried_alone(world, messages[0])
        if disposition is Disposition.SET_ASIDE
        else (await forwarded(world, messages))[0]
    ) is (Disposition.ACK)

    assert accounted(world, event_id) == (2, duplicates)
    assert kinds(world, event_id) == [HistoryKind.ATTEMPT] * 2


async def test_a_release_that_failed_costs_another_process_the_rest_of_the_claim(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)
    world.dead_letter_topic.failures.fail_next("publish", UNPUBLISHED)
    world.ledger.failures.fail_next("release", DOWN)

    assert await forwarded(world, messages) == [Disposition.HOLD]
    world.start_process()
    assert await forwarded(world, messages) == [Disposition.NACK]
    world.clock.advance(91)
    assert await forwarded(world, messages) == [Disposition.ACK]

    assert world.forwarder.taken[event_id] == 1
    assert world.row(event_id).possible_duplicates == 1


async def test_what_could_not_be_released_and_another_has_taken_over_is_forgotten(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(TIMED_OUT)
    world.ledger.failures.fail_next("note", DOWN)
    world.ledger.failures.fail_next("release", DOWN)
    await forwarded(world, messages)
    world.clock.advance(91)
    await world.ledger.claim([event_id], token="another's", seconds=60)
    world.clock.advance(61)

    assert await forwarded(world, messages) == [Disposition.ACK]

    # Two claims whose holders said nothing; what this process knew of its own is not written over it.
    assert world.row(event_id).possible_duplicates == 2
    assert kinds(world, event_id) == [HistoryKind.TAKE_OVER, HistoryKind.TAKE_OVER, HistoryKind.ATTEMPT]


async def test_a_suspect_whose_release_failed_is_judged_by_all_that_is_known(world: WorkerWorld) -> None:
    world = WorkerWorld(suspect_attempts=3)
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.always = SERVER_ERROR
    world.forwarder.on_send = world.circuit.confirmed  # others
    world.ledger.failures.fail_until_mended("release", DOWN)
    assert await forwarded(world, messages) == [Disposition.SET_ASIDE]
    assert await tried_alone(world, messages[0]) is Disposition.SET_ASIDE
    world.ledger.failures.mend()

    assert await tried_alone(world, messages[0]) is Disposition.ACK

    assert world.dead_letters() == [(event_id, "exhausted")]
    assert world.row(event_id).alone_failures == 3
    assert accounted(world, event_id) == (3, 3)


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


async def test_a_cancelled_burial_keeps_its_claim_and_is_settled_when_it_comes_again(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    world.forwarder.script.append(REJECTED)

    await cancelled_while_held(world, messages, "settle_dead")

    assert world.row(event_id).claim_token is not None
    assert await forwarded(world, messages) == [Disposition.ACK]
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


async def test_what_was_remembered_is_not_forgotten_by_a_claim_under_which_nothing_is_sent(world: WorkerWorld) -> None:
    """A copy may be at Statsig; the release that said so failed, and then the circuit opened."""
    (event_id,), messages = await world.logged_and_pulled()
    await sent_and_not_released(world, messages)
    world.stopping.set()

    await forwarded(world, messages)

    assert accounted(world, event_id) == (1, 1)


async def test_what_was_remembered_is_in_the_ledger_before_the_next_attempt(world: WorkerWorld) -> None:
    (event_id,), messages = await world.logged_and_pulled()
    await sent_and_not_released(world, messages)
    seen: list[tuple[int, int]] = []
    world.forwarder.on_send = lambda: seen.append(accounted(world, event_id))

    assert await forwarded(world, messages) == [Disposition.ACK]

    assert seen == [(1, 1)]
    assert accounted(world, event_id) == (2, 1)


async def sent_and_not_released(world: WorkerWorld, messages: list[ReceivedMessage]) -> None:
    """One attempt whose outcome nobody knows, and Spanner away at its end."""
    world.forwarder.script.append(UNAVAILABLE)
    world.ledger.failures.fail_next("note", DOWN)
    world.ledger.failures.fail_next("release", DOWN)
    await forwarded(world, messages)
    assert world.forwarder.taken.total() == 1

"""Forwards messages of a WorkerWorld, and reads what became of them."""

from collections.abc import Sequence

from shared.events.attempt_history import HistoryKind, decode
from tests.support.fakes.worker_world import WorkerWorld
from tests.support.histories import explains
from worker.disposition import Disposition
from worker.subscription import ReceivedMessage


async def forwarded(world: WorkerWorld, messages: Sequence[ReceivedMessage]) -> list[Disposition]:
    """Forwards the messages as one batch; returns the disposition of each, in order."""
    decided = await world.forwarding.forward(messages)
    assert set(decided) == {message.ack_id for message in messages}
    return [decided[message.ack_id] for message in messages]


async def forward_all(world: WorkerWorld) -> list[Disposition]:
    """Forwards all messages that can be pulled, as one batch."""
    return await forwarded(world, await world.pull())


async def tried_alone(world: WorkerWorld, message: ReceivedMessage) -> Disposition:
    return (await world.forwarding.try_alone([message]))[message.ack_id]


async def trial(world: WorkerWorld) -> Disposition:
    """Tries the one message that can be pulled."""
    (message,) = await world.pull()
    return await tried_alone(world, message)


def dead_letter_reasons(world: WorkerWorld) -> list[str]:
    return [reason for _, reason in world.dead_letters()]


def kinds(world: WorkerWorld, event_id: str) -> list[HistoryKind]:
    """The kinds of the entries in the event's history."""
    return [entry.kind for entry in decode(world.row(event_id).history)]


def accounted(world: WorkerWorld, event_id: str) -> tuple[int, int]:
    """The row's attempts and possible duplicates, which its history must explain."""
    row = world.row(event_id)
    assert explains(decode(row.history), row.attempts, row.possible_duplicates)
    return row.attempts, row.possible_duplicates

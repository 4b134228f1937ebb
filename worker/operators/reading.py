"""Reading every dead letter without consuming any: pull, hold the leases only meanwhile, give every lease back.

However a command ends, its leases end too: normally and on Ctrl-C they are given back with an ack deadline of 0; after
a kill -9 they run out by themselves within LEASE_SECONDS.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio

from worker.leases import Leases
from worker.operators.letters import Letter, read_letter
from worker.subscription import MAX_IDS_PER_CALL, Subscription

LEASE_SECONDS: Final = 10
"""The shortest that Pub/Sub offers: how long a killed command hides what it held. Extended every 3 s."""

QUIET_SECONDS: Final = 1.5
"""When nothing new has come for so long, all has. An empty answer alone does not say so: Pub/Sub gives one early."""

EMPTY_PAUSE_SECONDS: Final = 0.1
"""After an empty answer, which may come at once."""

PULLS_AT_ONCE: Final = 4

MAX_LETTERS: Final = 50_000
MAX_BYTES: Final = 512 * 1024 * 1024
"""What one command holds at the most; the rest is left for the next run, and the answer says so."""

GIVE_BACK_SECONDS: Final = 10.0

Progress = Callable[[int], None]
"""Told how many letters are held by now."""


@dataclass(slots=True)
class Held:
    """The dead letters that this command holds, and their leases."""

    leases: Leases
    letters: dict[str, Letter] = field(default_factory=dict)
    """By message id: what is delivered twice meanwhile is one letter."""

    size: int = 0
    quiet_since: float = field(default_factory=anyio.current_time)
    is_full: bool = False
    """There may be more than is held."""


@asynccontextmanager
async def held_letters(subscription: Subscription, progress: Progress = lambda _: None) -> AsyncIterator[Held]:
    """All dead letters that nobody else holds. Leases still held at the end are given back.

    Raises:
        SubscriptionUnavailableError: no answer, or the subscription does not exist.
    """
    held = Held(Leases(subscription, seconds=LEASE_SECONDS))
    try:
        async with anyio.create_task_group() as extending:
            extending.start_soon(held.leases.extend_forever)
            async with anyio.create_task_group() as pulls:
                for _ in range(PULLS_AT_ONCE):
                    pulls.start_soon(_pull_until_quiet, subscription, held, progress)
            yield held
            extending.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(GIVE_BACK_SECONDS, shield=True):
            await held.leases.give_back(held.leases.held())


async def _pull_until_quiet(subscription: Subscription, held: Held, progress: Progress) -> None:
    while not held.is_full and (left := held.quiet_since + QUIET_SECONDS - anyio.current_time()) > 0:
        messages = await subscription.pull(max_messages=MAX_IDS_PER_CALL, wait_seconds=left)
        if not messages:
            await anyio.sleep(min(left, EMPTY_PAUSE_SECONDS))
            continue
        held.leases.hold(messages)
        new = [message for message in messages if message.message_id not in held.letters]
        held.letters |= {message.message_id: read_letter(message) for message in messages}
        held.size += sum(len(message.data) for message in new)
        held.is_full = len(held.letters) >= MAX_LETTERS or held.size >= MAX_BYTES
        if new:
            held.quiet_since = anyio.current_time()
        progress(len(held.letters))
        # From the subscription's own deadline, often minutes, down to what a killed command may cost.
        await subscription.extend([message.ack_id for message in messages], seconds=LEASE_SECONDS)

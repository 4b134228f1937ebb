"""Operators under stress: dead letters in quantity, kills in the middle, two replays at once, and every event once.

REPLAY_SCALE multiplies all numbers: 5 makes 10,000 dead letters, which take some minutes.
"""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from deploy.local.stack import Stack, StackOptions, running_stack
from shared.events.event import Event
from tests.support.delivery import deliveries, until_delivered
from tests.support.emulators.pubsub_manners.manners import Manners
from tests.support.emulators.pubsub_manners.process import with_manners
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import nest_events, start_nest_events
from tests.support.sample_events import sample_event

pytestmark = [pytest.mark.emulators, pytest.mark.processes]

SCALE = int(os.environ.get("REPLAY_SCALE", "1"))
RATE = str(250 * SCALE)
HALF = ("--reason", "http_400", "--reason", "http_413")


@pytest.fixture
async def mannered(emulators: Emulators, environment: dict[str, str], tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """The settings, with a Pub/Sub that behaves as the real one."""
    async with with_manners(emulators, Manners(seed=2), tmp_path) as seen:
        yield environment | {"PUBSUB_EMULATOR_HOST": seen.pubsub_host}


async def replayed(seeded: SeededEvents, events: list[Event]) -> int:
    states = await seeded.states()
    return sum(states[event.event_id][1] > 0 for event in events)


async def replay_and_kill(environment: dict[str, str], seeded: SeededEvents, events: list[Event], *, at: int) -> None:
    """Start replaying the half, and kill -9 once so many are reopened."""
    process = start_nest_events(environment, "dead-letters", "replay", *HALF, "--rate", RATE, "--yes")
    while await replayed(seeded, events) < at:
        assert process.poll() is None, process.communicate()
        await anyio.sleep(0.05)
    process.kill()
    process.communicate()


async def replay(environment: dict[str, str], *filters: str) -> dict[str, int]:
    ran = await nest_events(environment, "dead-letters", "replay", *filters, "--rate", RATE, "--yes", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["adds_up"]
    outcomes: dict[str, int] = ran.json["outcomes"]
    return outcomes


async def until_collected(seeded: SeededEvents, count: int) -> None:
    with anyio.fail_after(120 * SCALE):
        asked_at = anyio.current_time()
        while len(await seeded.open_letters()) < count:
            # Reading thousands of letters is work for the emulator: a fifth of the time may go to it.
            await anyio.sleep(max(0.2, 4 * (anyio.current_time() - asked_at)))
            asked_at = anyio.current_time()


@pytest.mark.timeout(150 * SCALE)
async def test_2000_dead_letters_through_kills_and_two_operators_reach_statsig_once(
    emulators: Emulators, names: StackNames, mannered: dict[str, str], seeded: SeededEvents, tmp_path: Path
) -> None:
    first = await seeded.log(1000 * SCALE, name="half")
    quarantined = await seeded.log(50 * SCALE, name="half")
    others = await seeded.log(300 * SCALE, name="other")
    native = await seeded.log(400 * SCALE, name="native")
    await seeded.dead_letter(first[: 700 * SCALE], "http_400")
    await seeded.dead_letter(first[700 * SCALE :], "http_413")
    await seeded.dead_letter(others, "http_422")
    await seeded.dead_letter(quarantined, "http_400")
    await seeded.set_replays(quarantined, 3)
    await seeded.dead_letter_natively(native)
    await seeded.publish_letters([sample_event(name="gone") for _ in range(100 * SCALE)], "row_missing")
    await seeded.publish_poison(150 * SCALE)

    # The native ones are pending, and must not be delivered before all letters are collected.
    settings = {"RECONCILE_AFTER_SECONDS": str(20 * SCALE), "RECONCILE_INTERVAL_SECONDS": "1"}
    options = StackOptions(settings=settings | {"PUBSUB_EMULATOR_HOST": mannered["PUBSUB_EMULATOR_HOST"]})
    async with running_stack(tmp_path, options, names=names, emulators=emulators) as stack:
        await until_collected(seeded, 2000 * SCALE)
        began = time.monotonic()
        await replay_and_kill(mannered, seeded, first, at=150 * SCALE)
        await replay_and_kill(mannered, seeded, first, at=400 * SCALE)
        half = await replay(mannered, *HALF)
        assert half["quarantined"] == 50 * SCALE
        assert await replayed(seeded, first) == 1000 * SCALE

        both: list[dict[str, int]] = []

        async def operate() -> None:
            both.append(await replay(mannered))

        async with anyio.create_task_group() as operators:
            for _ in range(2):
                operators.start_soon(operate)
        took = time.monotonic() - began
        replayable = [event.event_id for event in [*first, *others, *native]]
        received = await until_delivered(replayable, _log(stack), seconds=60 * SCALE)
        await replay(mannered)  # closes the letters of what a worker had in work until now
        rest = await replay(mannered)
        account = (await nest_events(mannered, "account", "--json")).json["total"]

    # Each of them is replayed once, whichever of the two had it.
    assert sum(each["sent"] for each in both) == 300 * SCALE
    assert {outcome: count for outcome, count in rest.items() if count} == {
        "quarantined": 50 * SCALE,
        "poison": 150 * SCALE,
        "missing": 100 * SCALE,
    }
    assert received == dict.fromkeys(replayable, 1)
    assert deliveries(_log(stack)) == received
    assert account == {
        "accepted": 1750 * SCALE,
        "delivered": 1700 * SCALE,
        "pending": 0,
        "dead": 50 * SCALE,
        "forwarded_later": 0,
        "possible_duplicates": 0,
        "unaccounted": 0,
    }
    assert took < 100 * SCALE


def _log(stack: Stack) -> Path:
    assert stack.statsig_log is not None
    return stack.statsig_log


@pytest.mark.timeout(90)
async def test_listing_10000_is_exact_and_leases_nothing(environment: dict[str, str], seeded: SeededEvents) -> None:
    events = await seeded.log(10_000)
    await seeded.dead_letter_natively(events)
    await seeded.collect()

    began = time.monotonic()
    listed = (await nest_events(environment, "dead-letters", "list", "--json")).json
    took = time.monotonic() - began

    assert listed["events"] == listed["by_caller"]["caller@example.com"] == 10_000
    assert {letter.subject for letter in await seeded.open_letters()} == {event.event_id for event in events}
    assert took < 15

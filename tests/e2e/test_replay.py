"""Operators under stress: dead letters in quantity, kills in the middle, two replays at once, and every event once."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from deploy.local.stack import Stack, StackOptions, running_stack
from shared.event import Event
from tests.support.delivery import deliveries, until_delivered
from tests.support.graveyard import Graveyard, graveyard
from tests.support.operating import nest_events, start_nest_events
from tests.support.sample_events import sample_event

pytestmark = [pytest.mark.emulators, pytest.mark.processes]

RATE = "250"
HALF = ("--reason", "http_400", "--reason", "http_413")


@pytest.fixture
async def ground(environment: dict[str, str]) -> AsyncIterator[Graveyard]:
    async with graveyard(environment) as found:
        yield found


async def replayed(ground: Graveyard, events: list[Event]) -> int:
    states = await ground.states()
    return sum(states[event.event_id][1] > 0 for event in events)


async def replay_and_kill(environment: dict[str, str], ground: Graveyard, events: list[Event], *, at: int) -> None:
    """Start replaying the half, again where another one's leases hide all, and kill -9 once so many are reopened."""
    while True:
        process = start_nest_events(environment, "dead-letters", "replay", *HALF, "--rate", RATE, "--yes")
        while process.poll() is None:
            if await replayed(ground, events) >= at:
                process.kill()
                process.communicate()
                return
            await anyio.sleep(0.05)
        process.communicate()


async def replay_to_the_end(environment: dict[str, str], *filters: str) -> dict[str, int]:
    """Replay until a run finds something and leaves nothing that it could send."""
    with anyio.fail_after(60):
        while True:
            ran = await nest_events(environment, "dead-letters", "replay", *filters, "--rate", RATE, "--yes", "--json")
            assert ran.code == 0, ran.err
            assert ran.json["adds_up"]
            outcomes: dict[str, int] = ran.json["outcomes"]
            if ran.json["events"] and not outcomes["in_work"]:
                return outcomes


@pytest.mark.timeout(150)
async def test_2000_dead_letters_through_kills_and_two_operators_reach_statsig_once(
    emulators: Emulators, names: StackNames, environment: dict[str, str], ground: Graveyard, tmp_path: Path
) -> None:
    first = await ground.log(1000, name="half")
    quarantined = await ground.log(50, name="half")
    others = await ground.log(300, name="other")
    native = await ground.log(400, name="native")
    await ground.bury(first[:700], "http_400")
    await ground.bury(first[700:], "http_413")
    await ground.bury(others, "http_422")
    await ground.bury(quarantined, "http_400")
    await ground.set_replays(quarantined, 3)
    await ground.bury_natively(native)
    await ground.letters_only([sample_event(name="gone") for _ in range(100)], "row_missing")
    await ground.bury_poison(150)

    options = StackOptions(settings={"RECONCILE_AFTER_SECONDS": "5", "RECONCILE_INTERVAL_SECONDS": "1"})
    async with running_stack(tmp_path, options, names=names, emulators=emulators) as stack:
        began = time.monotonic()
        await replay_and_kill(environment, ground, first, at=150)
        await replay_and_kill(environment, ground, first, at=400)
        half = await replay_to_the_end(environment, *HALF)
        assert half["quarantined"] == 50
        assert await replayed(ground, first) == 1000

        async with anyio.create_task_group() as operators:
            for _ in range(2):
                operators.start_soon(replay_to_the_end, environment)
        rest = await replay_to_the_end(environment)
        took = time.monotonic() - began
        replayable = [event.event_id for event in [*first, *others, *native]]
        received = await until_delivered(replayable, _log(stack))
        account = (await nest_events(environment, "account", "--json")).json["total"]

    assert {outcome: count for outcome, count in rest.items() if count} == {
        "quarantined": 50,
        "poison": 150,
        "missing": 100,
    }
    assert received == dict.fromkeys(replayable, 1)
    assert deliveries(_log(stack)) == received
    assert account == {
        "accepted": 1750,
        "delivered": 1700,
        "pending": 0,
        "dead": 50,
        "possible_duplicates": 0,
        "unaccounted": 0,
    }
    assert took < 100


def _log(stack: Stack) -> Path:
    assert stack.statsig_log is not None
    return stack.statsig_log


@pytest.mark.timeout(90)
async def test_listing_10000_takes_seconds_and_leaves_all_in_place(
    environment: dict[str, str], ground: Graveyard
) -> None:
    events = await ground.log(10_000)
    await ground.bury_natively(events)

    began = time.monotonic()
    listed = (await nest_events(environment, "dead-letters", "list", "--json")).json
    took = time.monotonic() - began
    # Right away: what is still leased would not be there.
    there = await ground.lying_there()

    assert listed["events"] == listed["by_caller"]["caller@example.com"] == 10_000
    assert len({message.message_id for message in there}) == len(there) == 10_000
    assert took < 15

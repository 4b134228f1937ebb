"""`nest-events account` and `reconcile`, and answers that cannot be written."""

import json
import signal
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from deploy.local.emulators import Emulators
from shared.events.forward_ledger import LEDGER_TABLE
from shared.spanner.event_log import LOG_TABLE
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import COMMAND, SECONDS, inherited, nest_events, start_nest_events
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

pytestmark = pytest.mark.emulators


async def test_account_adds_up_and_says_so_when_it_does_not(environment: dict[str, str], seeded: SeededEvents) -> None:
    events = await seeded.log(4)
    await seeded.settle_delivered(events[:2])
    await seeded.dead_letter(events[2:3], "http_400")
    well = await nest_events(environment, "account", "--json")
    plain = await nest_events(environment, "account", "--since", "1h")
    async with seeded.database.batch() as batch:
        batch.update(LEDGER_TABLE, ("event_id", "state"), [(events[3].event_id, "LOST")])
    broken = await nest_events(environment, "account")
    told = await nest_events(environment, "account", "--json")

    assert well.json["total"] == {
        "accepted": 4, "delivered": 2, "pending": 1, "dead": 1, "forwarded_later": 0, "possible_duplicates": 0,
        "unaccounted": 0,
    }  # fmt: skip
    assert (well.code, plain.code, broken.code) == (0, 0, 1)
    assert "It adds up" in plain.out
    assert plain.out.startswith("Compared, from ")
    assert "with its row in the forward ledger" in plain.out
    assert "UNACCOUNTED: 1 of 4 accepted" in broken.out
    assert f"{events[3].event_id}  accepted 20" in broken.out
    assert [(each["event_id"], each["state"]) for each in told.json["unaccounted_events"]] == [
        (events[3].event_id, "LOST")
    ]


async def test_account_takes_absolute_times_and_looks_at_nothing_else(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    old, _ = await seeded.log(2)
    yesterday = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
    async with seeded.database.batch() as batch:
        batch.update(LOG_TABLE, ("event_id", "ingested_at"), [(old.event_id, yesterday + timedelta(minutes=5))])
    until = yesterday + timedelta(hours=1)

    ran = await nest_events(
        environment, "account", "--since", f"{yesterday:%Y-%m-%dT%H:%MZ}", "--until", until.isoformat(), "--json"
    )

    assert [(hour["hour"], hour["accepted"]) for hour in ran.json["hours"]] == [(yesterday.isoformat(), 1)]
    assert (ran.json["since"], ran.json["until"]) == (yesterday.isoformat(), until.isoformat())


async def test_reconcile_publishes_what_is_pending_for_so_long(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    await seeded.log(450)

    ran = await nest_events(environment, "reconcile", "--now", "--rate", "10000", "--json")
    again = await nest_events(environment, "reconcile", "--now", "--rate", "10000", "--json")
    younger = await nest_events(environment, "reconcile", "--older-than", "1h", "--json")

    assert ran.json == {"pending": 450, "republished": 450}
    assert again.json == {"pending": 450, "republished": 450}
    assert younger.json == {"pending": 0, "republished": 0}
    assert (ran.audit["command"], ran.audit["count"]) == ("reconcile", 450)


@pytest.mark.timeout(60)
async def test_an_interrupted_reconcile_says_how_many_it_published(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    await seeded.log(400)
    slow = start_nest_events(environment, "reconcile", "--now", "--rate", "40", "--json")
    assert slow.stderr is not None
    with anyio.fail_after(SECONDS):
        while "Publishing again" not in await anyio.to_thread.run_sync(slow.stderr.readline):
            pass
    slow.send_signal(signal.SIGINT)
    out, err = await anyio.to_thread.run_sync(slow.communicate)

    assert slow.returncode == 130, err
    answer = json.loads(out)
    assert (answer["pending"], answer["ended_early"]) == (400, "interrupted")
    assert 0 < answer["republished"] < 400


@pytest.mark.timeout(90)
async def test_a_reconcile_that_cannot_publish_ends_with_the_first_failure(
    environment: dict[str, str], emulators: Emulators, seeded: SeededEvents
) -> None:
    await seeded.log(200)
    async with tcp_proxy(emulators.pubsub_host) as proxy:
        await proxy.switch(Mode.BLACKHOLE)
        frozen = environment | {"PUBSUB_EMULATOR_HOST": proxy.address}
        ran = await nest_events(frozen, "reconcile", "--now", "--json")

    assert ran.code == 3
    assert ran.json == {"pending": 200, "republished": 0, "ended_early": "failed"}
    assert f"(PUBSUB_EMULATOR_HOST={proxy.address})" in ran.err
    assert "Traceback" not in ran.err


async def test_an_answer_for_a_full_disk_is_one_line_and_an_exit_code_of_its_own(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    await seeded.log(1)
    async with await anyio.open_file("/dev/full", "w") as full:
        ran = await anyio.run_process(
            [*COMMAND, "account", "--json"], env=inherited(environment), stdout=full.wrapped, check=False
        )

    assert ran.returncode == 4
    assert ran.stderr.decode() == "nest-events: the answer could not be written: No space left on device\n"


async def test_an_answer_that_nobody_reads_any_more_ends_quietly_with_an_exit_code_of_its_own(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    """The pipe is closed, as by `head` once it has its lines."""
    await seeded.log(1)
    with start_nest_events(environment, "account", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = await anyio.to_thread.run_sync(process.stderr.read)

    assert (process.returncode, err) == (4, "")

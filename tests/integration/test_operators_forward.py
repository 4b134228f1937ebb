"""`nest-events forward` on real emulators: what was stored only is made pending and published, once."""

import signal
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from shared.events.event import Event
from shared.events.forward_ledger import LEDGER_RETENTION
from shared.spanner.event_log import LOG_TABLE
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import Ran, nest_events, start_nest_events
from tests.support.sample_events import in_shard

pytestmark = pytest.mark.emulators

WINDOW = ("--from", "1h", "--to", "0s")
DO_IT = ("--why", "a rule was too wide", "--yes")


def ids(events: list[Event]) -> list[str]:
    return sorted(event.event_id for event in events)


async def forward(environment: dict[str, str], *arguments: str) -> Ran:
    ran = await nest_events(environment, "forward", *WINDOW, "--rate", "400", "--json", *arguments)
    assert ran.code == 0, ran.err
    return ran


async def test_a_dry_run_counts_what_the_command_would_do_and_changes_nothing(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    await seeded.log(2)
    await seeded.log(3, forward=False)
    await seeded.log(1, forward=False, name="a[b]")

    told = await forward(environment)
    plain = await nest_events(environment, "forward", *WINDOW, "--limit", "2")

    assert told.json["outcomes"] == {
        "forwarded": 3, "already": 0, "name_dropped": 1, "too_old": 0, "unreadable": 0, "missing": 0, "left": 0,
    }  # fmt: skip
    assert (told.json["events"], told.json["dry_run"], told.json["adds_up"]) == (4, True, True)
    assert told.json["to_forward_by_event_name"] == {"order_paid": 3}
    assert "Dry run. The result with --yes:" in plain.out
    assert "4 events = 2 forwarded + 1 name_dropped + 1 left" in plain.out
    assert (told.audit["command"], told.audit["count"], told.audit["dry_run"]) == ("forward", 3, True)
    assert len(await seeded.states()) == 2
    assert await seeded.forwarded() == []
    assert await seeded.audited() == []


async def test_it_forwards_what_was_chosen_once_and_a_second_run_finds_nothing_left(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    chosen = await seeded.log(5, forward=False, name="order_paid", caller="a@example.com")
    await seeded.log(1, forward=False, name="order_paid", caller="b@example.com")
    await seeded.log(1, forward=False, name="signed_up", caller="a@example.com")
    await seeded.log(1, name="order_paid", caller="a@example.com")
    filters = ("--name-prefix", "order_", "--event-type", "billing", "--caller", "a@example.com", *DO_IT)

    first = await forward(environment, *filters)
    second = await forward(environment, *filters)
    account = await nest_events(environment, "account", "--json")
    trace = await nest_events(environment, "trace", chosen[0].event_id, "--json")

    assert (first.json["events"], first.json["outcomes"]["forwarded"]) == (5, 5)
    assert (second.json["events"], second.json["outcomes"]["already"]) == (5, 5)
    assert await seeded.forwarded() == ids(chosen)
    assert account.json["total"] == {
        "accepted": 6, "delivered": 0, "pending": 6, "dead": 0, "forwarded_later": 5, "possible_duplicates": 0,
        "unaccounted": 0,
    }  # fmt: skip
    assert trace.json["now"].startswith("It was stored only at first, and an operator had it forwarded later. ")
    assert trace.json["published"].startswith("by `nest-events forward` at 20")
    assert [entry["kind"] for entry in trace.json["history"]] == ["forward"]


async def test_who_forwarded_what_and_why_is_kept_without_any_actor(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    await seeded.log(3, forward=False, actor_id="somebody")

    ran = await forward(environment, "--event-name", "order_paid", "--limit", "2", *DO_IT)

    end, beginning = await seeded.audited()
    assert {(entry.command, entry.why, entry.who != "") for entry in (beginning, end)} == {
        ("forward", "a rule was too wide", True)
    }
    assert (beginning.detail["event_name"], beginning.detail["limit"], beginning.detail["to_forward"]) == (
        "order_paid", 2, 2,
    )  # fmt: skip
    assert end.detail["outcomes"] == {"forwarded": 2, "left": 1}
    assert ran.audit["count"] == 2
    assert "somebody" not in ran.err + ran.out + str(beginning) + str(end)


async def test_what_was_delivered_or_is_dead_is_not_forwarded_again(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    delivered, dead = await seeded.log(2, forward=False), await seeded.log(1, forward=False)
    await forward(environment, *DO_IT)
    await seeded.settle_delivered(delivered)
    await seeded.settle_dead(dead, "http_400", 400)
    before = await seeded.states()
    await seeded.forwarded()

    again = await forward(environment, *DO_IT)

    assert again.json["outcomes"]["already"] == 3
    assert await seeded.states() == before
    assert await seeded.forwarded() == []


async def test_events_at_the_end_of_the_ledgers_retention_are_not_taken(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    """The ledger row that says that an older one was delivered may be gone."""
    old, young = await seeded.log(2, forward=False)
    at = datetime.now(UTC) - LEDGER_RETENTION
    async with seeded.database.batch() as batch:
        moved = [(old.event_id, at - timedelta(minutes=5)), (young.event_id, at + timedelta(minutes=5))]
        batch.update(LOG_TABLE, ("event_id", "ingested_at"), moved)

    refused = await nest_events(environment, "forward", "--from", "90d", "--to", "0s", *DO_IT)
    taken = await nest_events(
        environment, "forward", "--from", (at + timedelta(minutes=1)).isoformat(), "--to", "0s", "--json", *DO_IT
    )

    assert refused.code == 2
    assert "the ledger is kept for 90 days" in refused.err
    assert taken.json["outcomes"]["forwarded"] == 1
    assert await seeded.forwarded() == [young.event_id]


@pytest.mark.parametrize("point", ["forward_after_admit", "forward_after_publish"])
async def test_killed_at_any_point_it_loses_nothing_and_the_next_run_takes_up_the_rest(
    environment: dict[str, str], seeded: SeededEvents, point: str
) -> None:
    # Of different shards, so that each is a step of its own.
    events = [event for shard in range(4) for event in await seeded.log(1, forward=False, event_id=in_shard(shard))]
    killing = environment | {"FAULT_POINTS": f"{point}=exit"}
    killed = await nest_events(killing, "forward", *WINDOW, "--rate", "400", *DO_IT)
    pending = await seeded.states()
    published = await seeded.forwarded()

    ran = await forward(environment, *DO_IT)
    reconciled = await nest_events(environment, "reconcile", "--now", "--json")

    assert killed.code == 137
    assert list(pending) == [events[0].event_id]
    assert published == ([] if point == "forward_after_admit" else list(pending))
    assert (ran.json["outcomes"]["already"], ran.json["outcomes"]["forwarded"]) == (1, 3)
    assert reconciled.json["republished"] == 4
    assert set(await seeded.forwarded()) == set(ids(events))
    assert set((await seeded.states()).values()) == {("PENDING", 0)}


@pytest.mark.timeout(60)
async def test_ctrl_c_finishes_its_step_and_says_what_is_left(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    await seeded.log(200, forward=False)
    process = start_nest_events(environment, "forward", *WINDOW, "--rate", "40", *DO_IT)
    with anyio.fail_after(20):
        while len(await seeded.states()) < 20:
            await anyio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = await anyio.to_thread.run_sync(process.communicate)

    sent = len(await seeded.states())
    end, _ = await seeded.audited()
    assert process.returncode == 130, err
    assert f"200 events = {sent} forwarded + {200 - sent} left" in out
    assert "run the same command again" in out
    assert "Traceback" not in err
    assert end.detail["outcomes"] == {"forwarded": sent, "left": 200 - sent}
    assert len(await seeded.forwarded()) == sent

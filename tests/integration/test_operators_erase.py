"""`nest-events erase` on real emulators: what it counts and deletes, what it prints, and what the audit has of it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from shared.events.audit_trail import AuditEntry
from shared.events.erasure import ERASER
from shared.events.event import Event
from shared.process.fault_points import EXIT_CODE
from shared.spanner.audit_trail import SpannerAuditTrail
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import Ran, nest_events, start_nest_events
from tests.support.sample_events import in_shard, sample_row
from worker.operators.erasure.erasing import EVENTS_PER_PAGE
from worker.operators.erasure.receipt import hashed

pytestmark = pytest.mark.emulators

ACTOR = "actor-canary-7f3b"
OTHER = "actor-other"

STATES = {"not_forwarded": 1, "pending": 2, "in_flight": 0, "delivered": 3, "dead": 2, "settled_long_ago": 0}


async def seed(seeded: SeededEvents, actor: str = ACTOR) -> list[Event]:
    """Events in every state but in flight, as STATES counts them; each dead one has a dead letter."""
    pending = await seeded.log(2, actor_id=actor)
    delivered = await seeded.log(3, actor_id=actor)
    dead = await seeded.log(2, actor_id=actor)
    await seeded.settle_delivered(delivered)
    await seeded.dead_letter(dead, "http_400")
    await seeded.collect()
    never = sample_row(actor_id=actor, forward=False)
    await seeded.repository.append([never])
    return [*pending, *delivered, *dead, never.event]


async def erase(environment: Mapping[str, str], *arguments: str, actor: str = ACTOR, stdin: str = "") -> Ran:
    return await nest_events(environment, "erase", "--actor", actor, *arguments, stdin=stdin)


async def taken_over(seeded: SeededEvents) -> int:
    """Rows whose claim the erasure has taken over."""
    async with seeded.database.snapshot() as snapshot:
        query = f"SELECT COUNT(*) FROM NestEventForward WHERE claim_token = '{ERASER}'"  # noqa: S608 - a constant
        ((count,),) = [row async for row in await snapshot.execute_sql(query)]
    return int(count)


async def rows_of(seeded: SeededEvents, table: str, actor: str | None = None) -> int:
    condition = "" if actor is None else f" WHERE actor_id = '{actor}'"
    async with seeded.database.snapshot() as snapshot:
        rows = await snapshot.execute_sql(f"SELECT COUNT(*) FROM {table}{condition}")  # noqa: S608 - the test's own
        (found,) = [row[0] async for row in rows]
        return int(found)


async def audited(seeded: SeededEvents) -> list[AuditEntry]:
    trail = SpannerAuditTrail(seeded.ledger.transactions, timeout_seconds=20)
    return await trail.latest(since=datetime.now(UTC) - timedelta(hours=1), limit=100)


async def test_a_dry_run_counts_and_changes_nothing(environment: dict[str, str], seeded: SeededEvents) -> None:
    await seed(seeded)
    await seed(seeded, OTHER)
    today = datetime.now(UTC).date()

    ran = await erase(environment, "--json")
    plain = await erase(environment)

    assert ran.code == plain.code == 0, ran.err + plain.err
    told = ran.json
    assert told["dry_run"]
    assert told["states"] == STATES
    assert (told["events"], told["dead_letters"], told["left_in_flight"]) == (8, 2, 0)
    assert today - timedelta(days=1) <= datetime.fromisoformat(told["oldest"]).date() <= today
    assert "elsewhere" not in told
    assert "Dry run. With --yes these would be erased:" in plain.out
    assert "delivered\t3\t" in plain.out
    assert await rows_of(seeded, "NestEventLog") == 16
    assert await rows_of(seeded, "NestEventErased") == 0
    assert await audited(seeded) == []


async def test_everything_of_the_actor_is_erased_and_the_receipt_says_so(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    events, others = await seed(seeded), await seed(seeded, OTHER)

    ran = await erase(environment, "--yes", "--json")

    assert ran.code == 0, ran.err
    told = ran.json
    assert (told["dry_run"], told["complete"]) == (False, True)
    assert told["states"] == STATES
    assert told["dead_letters"] == 2
    assert await rows_of(seeded, "NestEventLog", ACTOR) == 0
    assert (await seeded.states()).keys() == {event.event_id for event in others[:-1]}
    assert {each.subject for each in await seeded.open_letters()} == {each.event_id for each in others[5:7]}
    assert await rows_of(seeded, "NestEventErased") == len(events)
    again = (await erase(environment, "--json")).json
    assert (again["events"], again["dead_letters"]) == (0, 0)


async def test_the_receipt_says_what_lies_elsewhere_with_the_commands_there(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    await seed(seeded)

    ran = await erase(environment, "--yes", actor="-", stdin=f"{ACTOR}\n")

    assert ran.code == 0, ran.err
    assert "delivered\t3\tconfirmed by Statsig" in ran.out
    assert "all\t8\t" in ran.out
    assert "Statsig\tIt confirmed up to 3 of these events" in ran.out
    assert "DELETE FROM nest.nest_event_log WHERE actor_id = @actor AND ingested_at < @before" in ran.out
    for place in ("Spanner", "Pub/Sub", "Cloud Logging"):
        assert f"\n{place}\t" in ran.out


async def test_the_audit_has_who_and_how_many_and_a_hash_and_nothing_names_the_actor(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    await seed(seeded)

    ran = await erase(environment | {"CLOUDSDK_CORE_ACCOUNT": "alice@example.com", "LOG_LEVEL": "DEBUG"}, "--yes")

    ended, begun = await audited(seeded)
    assert {(each.who, each.command) for each in (begun, ended)} == {("alice@example.com", "erase")}
    assert (begun.detail["step"], ended.detail["step"]) == ("begun", "ended")
    assert begun.detail["actor_sha256"] == ended.detail["actor_sha256"] == hashed(ACTOR)
    assert ended.detail["states"] == STATES
    assert (ran.audit["command"], ran.audit["dry_run"]) == ("erase", False)
    assert ran.audit["filter"] == {"actor_sha256": hashed(ACTOR)}
    written = ran.out + ran.err + json.dumps([dict(each.detail) for each in (begun, ended)], default=str)
    assert ACTOR not in written


async def test_an_actor_without_events_is_nothing_to_erase(environment: dict[str, str], seeded: SeededEvents) -> None:
    await seed(seeded, OTHER)

    ran = await erase(environment, "--yes", "--json")

    assert (ran.code, ran.json["events"], ran.json["oldest"]) == (0, 0, None)
    assert await rows_of(seeded, "NestEventLog") == 8


async def test_events_in_flight_are_left_without_a_wait_and_erased_by_another_run(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    events = await seeded.log(3, actor_id=ACTOR)
    await seeded.log(2, actor_id=ACTOR)
    await seeded.ledger.claim([event.event_id for event in events], token="worker", seconds=10)

    first = await erase(environment, "--yes", "--wait", "0", "--json")
    plain = await erase(environment, "--yes", "--wait", "0")
    second = await erase(environment, "--yes", "--wait", "120", "--json")

    assert (first.code, plain.code, second.code) == (1, 1, 0), second.err
    assert (first.json["events"], first.json["left_in_flight"], first.json["complete"]) == (2, 3, False)
    assert "NOT COMPLETE: 3 events are left, which a worker has claimed. Run it again." in plain.out
    assert second.json["states"]["in_flight"] == 3
    assert "Waiting until workers' claims on 3 events end" in second.err
    assert await rows_of(seeded, "NestEventLog") == 0


async def test_an_erasure_that_was_killed_between_two_pages_is_whole_after_another_run(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    pages = [sample_row(actor_id=ACTOR, event_id=in_shard(3)) for _ in range(2 * EVENTS_PER_PAGE + 10)]
    await seeded.repository.append(pages)
    others = await seed(seeded, OTHER)

    killed = await erase(environment | {"FAULT_POINTS": "erase_after_page=exit@1"}, "--yes")

    assert killed.code == EXIT_CODE
    assert await rows_of(seeded, "NestEventLog", ACTOR) == EVENTS_PER_PAGE + 10
    assert await rows_of(seeded, "NestEventErased") == EVENTS_PER_PAGE
    second = await erase(environment, "--yes", "--json")
    assert (second.code, second.json["events"]) == (0, EVENTS_PER_PAGE + 10)
    assert await rows_of(seeded, "NestEventLog") == len(others)
    assert [each.detail["step"] for each in await audited(seeded)] == ["ended", "begun", "begun"]


async def test_an_interrupted_erasure_prints_and_audits_how_far_it_came(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    events = await seeded.log(3, actor_id=ACTOR)
    await seeded.log(2, actor_id=ACTOR)
    await seeded.ledger.claim([event.event_id for event in events], token="worker", seconds=300)
    process = start_nest_events(environment, "erase", "--actor", ACTOR, "--yes", "--json")
    with anyio.fail_after(30):
        while await rows_of(seeded, "NestEventErased") < 2 or await taken_over(seeded) < 3:
            assert process.poll() is None, process.communicate()
            await anyio.sleep(0.05)

    process.terminate()
    out, err = await anyio.to_thread.run_sync(process.communicate)

    assert process.returncode == 130, err
    told: dict[str, Any] = json.loads(out)
    assert (told["events"], told["left_in_flight"], told["complete"]) == (2, 3, False)
    assert (await audited(seeded))[0].detail["complete"] is False


async def test_another_database_role_is_refused_before_anything_is_asked(environment: dict[str, str]) -> None:
    ran = await erase(environment | {"SPANNER_DATABASE_ROLE": "operator"})

    assert ran.code == 2
    assert "only the database role eraser may delete: set SPANNER_DATABASE_ROLE=eraser" in ran.err

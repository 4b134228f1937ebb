"""`nest-events trace` on real emulators: one event, several events, and searches."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.events.event_ids import event_id_of_key
from shared.events.forward_ledger import LEDGER_TABLE
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import nest_events
from tests.support.sample_events import sample_event, sample_row

pytestmark = pytest.mark.emulators


async def test_trace_tells_the_whole_story(environment: dict[str, str], seeded: SeededEvents) -> None:
    (event,) = await seeded.log(1, actor_id="user-42")
    await seeded.dead_letter([event], "http_400")
    uncollected = (await nest_events(environment, "trace", event.event_id, "--json")).json
    await seeded.collect()

    told = (await nest_events(environment, "trace", event.event_id.upper(), "--json")).json
    plain = await nest_events(environment, "trace", event.event_id)

    assert "its dead letter is not in Spanner" in uncollected["now"]
    assert (told["caller"], told["caller_established_by"]) == ("caller@example.com", "cloud_run_iam")
    assert (told["state"], told["attempts"], told["last_status"], told["replays"]) == ("DEAD", 1, 400, 0)
    assert [letter["reason"] for letter in told["dead_letters"]] == ["http_400"]
    assert [(e["kind"], e["verdict"], e["status"], e["reason"]) for e in told["history"]] == [
        ("attempt", "rejected", 400, "http_400")
    ]
    assert told["now"] == "It was dead-lettered with http_400 after 1 attempt; its dead letter is open."
    assert told["now"] in plain.out
    assert told["published_at"] == told["dead_letters"][0]["published_at"]
    assert told["first_attempt_at"] == told["last_attempt_at"]


async def test_several_are_traced_at_once_and_those_that_are_unknown_are_named(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    events = await seeded.log(2)
    unknown = sample_event().event_id

    both = await nest_events(environment, "trace", *(event.event_id for event in events), "--json")
    one_unknown = await nest_events(environment, "trace", events[0].event_id, unknown)
    none = await nest_events(environment, "trace", unknown)

    assert [each["event_id"] for each in both.json["events"]] == [event.event_id for event in events]
    assert (both.code, both.json["missing"]) == (0, [])
    assert (one_unknown.code, f"{unknown}: nothing was committed" in one_unknown.out) == (1, True)
    assert (none.code, "nothing was committed under this id" in none.err) == (1, True)


async def test_searches_find_the_latest_first_and_say_where_there_are_more(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    mine = [
        *await seeded.log(1, actor_id="user-42", name="a"),
        *await seeded.log(1, actor_id="user-42", name="b"),
    ]
    await seeded.log(1, actor_id="user-43", name="a", caller="other@example.com")

    async def found(*arguments: str) -> list[str]:
        ran = await nest_events(environment, "trace", *arguments, "--json")
        return [each["event_id"] for each in ran.json["events"]]

    of_both = await nest_events(environment, "trace", "--actor", "user-42", "--limit", "1")
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    too_old = await nest_events(environment, "trace", "--actor", "user-42", "--since", "2h", "--until", hour_ago)

    assert await found("--actor", "user-42") == [mine[1].event_id, mine[0].event_id]
    assert await found("--actor", "user-42", "--event-name", "a") == [mine[0].event_id]
    assert len(await found("--event-name", "a")) == 2
    assert len(await found("--caller", "other@example.com")) == 1
    assert "There are more: these are the latest 1." in of_both.out
    assert (too_old.code, too_old.out.startswith("No event matches, from 20")) == (1, True)


async def test_a_search_finds_events_of_shards_beyond_the_setting(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    events = await seeded.log(20)

    ran = await nest_events(
        environment | {"FORWARD_SHARDS": "2"}, "trace", "--event-name", events[0].event_name, "--json"
    )

    assert {each["event_id"] for each in ran.json["events"]} == {each.event_id for each in events}


async def test_an_event_is_found_by_its_key(environment: dict[str, str], seeded: SeededEvents) -> None:
    verified, unverified = (
        replace(sample_event(), event_id=event_id_of_key("1048", "order-17", is_verified=known))
        for known in (True, False)
    )
    await seeded.repository.append([sample_row(verified)])

    one = await nest_events(environment, "trace", "--key", " order-17 ", "--identity", "1048", "--json")
    await seeded.repository.append([sample_row(unverified)])
    two = await nest_events(environment, "trace", "--key", "order-17", "--identity", "1048", "--json")
    none = await nest_events(environment, "trace", "--key", "order-17")

    assert one.json["event_id"] == verified.event_id
    assert {each["event_id"] for each in two.json["events"]} == {verified.event_id, unverified.event_id}
    assert (none.code, "of callers without an identity" in none.err) == (1, True)


async def test_the_events_of_a_call_are_found_by_its_request_id(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    ours, others = ([sample_event() for _ in range(count)] for count in (2, 1))
    for events, request_id in ((ours, "a" * 32), (others, "b" * 32)):
        await seeded.repository.append([replace(sample_row(event), request_id=request_id) for event in events])

    found = await nest_events(environment, "trace", "--request-id", "a" * 32, "--json")

    assert {each["event_id"] for each in found.json["events"]} == {event.event_id for event in ours}


async def test_trace_and_show_list_every_attempt_and_replay_with_its_time(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    (event,) = await seeded.log(1)
    began = datetime.now(UTC)
    await seeded.dead_letter([event], "http_400")
    await seeded.collect()
    await nest_events(environment, "dead-letters", "replay", "--yes")
    await seeded.dead_letter([event], "http_422")
    await seeded.collect()

    traced = (await nest_events(environment, "trace", event.event_id, "--json")).json
    shown = (await nest_events(environment, "dead-letters", "show", event.event_id, "--json")).json
    plain = await nest_events(environment, "trace", event.event_id)
    also_plain = await nest_events(environment, "dead-letters", "show", event.event_id)

    assert [(e["kind"], e["status"], e["reason"]) for e in traced["history"]] == [
        ("attempt", 400, "http_400"),
        ("replay", None, None),
        ("attempt", 422, "http_422"),
    ]
    assert [letter["closed_by"] for letter in traced["dead_letters"]] == ["replayed", None]
    assert shown["history"] == traced["history"]
    times = [datetime.fromisoformat(e["at"]) for e in traced["history"]]
    assert began <= times[0] <= times[1] <= times[2] <= datetime.now(UTC)
    for out in (plain.out, also_plain.out):
        lines = [line.split("\t")[1:4] for line in out.splitlines() if line.count("\t") == 5]
        assert lines == [
            ["what", "verdict", "status"],
            ["attempt", "rejected", "400"],
            ["replay", "", ""],
            ["attempt", "rejected", "422"],
        ]


async def test_what_was_tried_before_there_was_a_history_is_said_to_be_only_counted(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    (event,) = await seeded.log(1)
    await seeded.dead_letter([event], "http_400")
    async with seeded.database.batch() as batch:
        batch.update(LEDGER_TABLE, ("event_id", "attempts", "history"), [(event.event_id, 7, None)])

    told = (await nest_events(environment, "trace", event.event_id, "--json")).json
    plain = await nest_events(environment, "trace", event.event_id)

    assert (told["history"], told["attempts_without_history"]) == ([], 7)
    assert "7 earlier attempts are only counted" in plain.out

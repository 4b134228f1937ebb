"""`nest-events rules`, `pause`, `resume`, `probe` and `audit`, and what status says of them."""

import json
from datetime import datetime, timedelta

import pytest

from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import nest_events

pytestmark = pytest.mark.emulators

HOLD = ("rules", "add", "hold", "--event-name", "order_paid", "--why", "INC-12")


async def test_a_rule_is_a_dry_run_with_counts_until_it_is_confirmed(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    events = await seeded.log(3, caller="a@example.com")
    await seeded.log(2, caller="b@example.com")
    await seeded.settle_delivered(events[:1])

    dry = await nest_events(environment, *HOLD, "--caller", "a@example.com", "--json")
    before = await nest_events(environment, "rules", "list", "--json")
    done = await nest_events(environment, *HOLD, "--caller", "a@example.com", "--for", "2h", "--yes", "--json")
    listed = await nest_events(environment, "rules", "list", "--json")

    assert (dry.code, done.code) == (0, 0)
    assert (dry.json["dry_run"], before.json["rules"]) == (True, [])
    assert dry.json["would_apply_to"] == {
        "events_of_the_last_hour": 3,
        "of_these_to_forward": 3,
        "largest": [{"event_name": "order_paid", "caller": "a@example.com", "events": 3}],
        "pending": 2,
        "pending_looked_at": 4,
        "are_all_pending": True,
    }
    (rule,) = listed.json["rules"]
    assert rule["rule_id"] == done.json["rule"]["rule_id"]
    assert (rule["action"], rule["event_name"], rule["caller"]) == ("hold", "order_paid", "a@example.com")
    lasts = datetime.fromisoformat(rule["expires_at"]) - datetime.fromisoformat(rule["created_at"])
    assert abs(lasts - timedelta(hours=2)) < timedelta(seconds=10)
    assert dry.audit["dry_run"]
    assert not done.audit["dry_run"]


async def test_each_change_is_in_the_audit_with_who_and_why(environment: dict[str, str]) -> None:
    as_alice = environment | {"CLOUDSDK_CORE_ACCOUNT": "alice@example.com"}
    rule_id = (await nest_events(as_alice, *HOLD, "--yes", "--json")).json["rule"]["rule_id"]
    await nest_events(as_alice, *HOLD)
    await nest_events(environment | {"CLOUDSDK_CORE_ACCOUNT": "bob@example.com"}, "rules", "remove", rule_id,
                      "--why", "mended")  # fmt: skip

    audit = (await nest_events(environment, "audit", "--json")).json["entries"]

    assert [(each["who"], each["command"], each["why"]) for each in audit] == [
        ("bob@example.com", "rules remove", "mended"),
        ("alice@example.com", "rules add", "INC-12"),
    ]
    assert audit[1]["detail"]["rule_id"] == rule_id
    ended = (await nest_events(environment, "rules", "list", "--all", "--json")).json["rules"]
    assert [(each["rule_id"], each["active"], each["removed_by"]) for each in ended] == [
        (rule_id, False, "bob@example.com")
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("rules", "add", "delete", "--event-name", "x", "--why", "y"), "'delete' is not an action"),
        (("rules", "add", "hold", "--why", "y"), "say which events"),
        ((*HOLD, "--for", "2 weeks"), "'2 weeks' is not an age"),
        (("rules", "remove", "all"), "'all' is not a rule's id"),
        (("pause", "--why", " "), "--why must say something"),
    ],
)
async def test_what_is_wrong_is_refused_and_nothing_written(
    environment: dict[str, str], arguments: tuple[str, ...], says: str
) -> None:
    ran = await nest_events(environment, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert (await nest_events(environment, "audit", "--json")).json["entries"] == []


async def test_the_same_rule_is_not_made_twice_and_one_that_is_not_there_not_removed(
    environment: dict[str, str],
) -> None:
    await nest_events(environment, *HOLD, "--yes")
    again = await nest_events(environment, *HOLD, "--yes")
    absent = await nest_events(environment, "rules", "remove", "0badcafe")
    assert (again.code, absent.code) == (2, 1)
    assert "does the same already" in again.err
    assert "no active rule 0badcafe" in absent.err


async def test_status_says_who_paused_and_what_is_held(environment: dict[str, str], seeded: SeededEvents) -> None:
    await seeded.log(2)
    await nest_events(environment, *HOLD, "--yes")
    held = await nest_events(environment, "status")
    paused = await nest_events(environment | {"CLOUDSDK_CORE_ACCOUNT": "alice@example.com"}, "pause",
                               "--why", "Statsig maintenance", "--for", "2h")  # fmt: skip
    twice = await nest_events(environment, "pause", "--why", "again")
    status = await nest_events(environment, "status", "--json")
    resumed = await nest_events(environment, "resume")
    nothing = await nest_events(environment, "resume")

    assert "A rule holds 2 of the pending events" in " ".join(held.out.split())
    assert paused.code == 0
    assert "or with `nest-events resume`" in paused.out
    assert (twice.code, status.code) == (2, 1)
    (problem,) = [each for each in status.json["problems"] if each["subject"] == "rules"]
    assert problem["what"].startswith("alice@example.com has paused forwarding until ")
    assert problem["what"].endswith(": Statsig maintenance")
    assert status.json["verdict"] == "stopped"
    assert {each["action"] for each in status.json["rules"]} == {"hold", "pause"}
    assert resumed.out.startswith("Forwarding goes on.")
    assert nothing.out.startswith("Forwarding is not paused.")


async def test_trace_says_which_rule_or_pause_holds_an_event(environment: dict[str, str], seeded: SeededEvents) -> None:
    (event,) = await seeded.log(1, caller="a@example.com")
    (other,) = await seeded.log(1, name="other")
    as_alice = environment | {"CLOUDSDK_CORE_ACCOUNT": "alice@example.com"}
    rule_id = (await nest_events(as_alice, *HOLD, "--yes", "--json")).json["rule"]["rule_id"]
    held, free = [await nest_events(environment, "trace", each.event_id, "--json") for each in (event, other)]
    await nest_events(as_alice, "pause", "--why", "maintenance")
    paused = await nest_events(environment, "trace", other.event_id)

    assert held.json["to_do"].startswith(f"Rule {rule_id} of alice@example.com holds it until 20")
    assert f": INC-12. To do: `nest-events rules remove {rule_id}`" in held.json["to_do"]
    assert "No worker runs" in free.json["to_do"]
    assert "alice@example.com has paused forwarding until " in paused.out


async def test_tables_and_lists_for_people(environment: dict[str, str], seeded: SeededEvents) -> None:
    await seeded.log(2)
    empty = [await nest_events(environment, *command) for command in (("rules", "list"), ("audit",))]
    dry = await nest_events(environment, *HOLD)
    await nest_events(environment, *HOLD, "--yes")
    probed = await nest_events(environment, "probe")
    listed = await nest_events(environment, "rules", "list")
    audit = await nest_events(environment, "audit", "--limit", "1")

    assert empty[0].out == "No rule is active.\n"
    assert empty[1].out.startswith("Nothing since 20")
    assert "Dry run. With --yes this rule is written:" in dry.out
    assert "Of the last hour 2 events match, 2 of them to be forwarded." in dry.out
    assert "Of the 2 pending events 2 match." in dry.out
    assert probed.out.startswith("Workers whose circuit is open probe Statsig now.")
    rows = [line.split("\t") for line in listed.out.splitlines()]
    assert rows[0] == ["rule", "action", "events with", "state", "by", "why"]
    assert {row[1] for row in rows[1:]} == {"hold", "probe"}
    assert "The latest 1; there may be more" in audit.out
    assert json.loads(audit.out.splitlines()[1].split("\t")[4])["action"] == "probe"

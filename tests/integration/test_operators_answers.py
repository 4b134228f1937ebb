"""What `nest-events` answers on one event, on all of them, on what goes on, and on what is wrong."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyqwest
import pytest
from google.cloud.spanner_v1 import KeySet
from google.pubsub_v1 import ExpirationPolicy, Subscription

from deploy.local.statsig_stand_in import read_log, running_stand_in
from shared.forward_ledger import LEDGER_TABLE, Attempt
from shared.pubsub import subscription_path, topic_path
from shared.spanner_worker_states import WORKERS_TABLE
from shared.worker_states import WorkerState
from tests.support.graveyard import Graveyard
from tests.support.operating import nest_events
from worker.operators.statsig_key import statsig_findings

pytestmark = pytest.mark.emulators

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


async def test_trace_tells_the_whole_story(environment: dict[str, str], graveyard: Graveyard) -> None:
    (event,) = await graveyard.log(1, actor_id="user-42")
    await graveyard.bury([event], "http_400")

    told = (await nest_events(environment, "trace", event.event_id.upper(), "--json")).json
    plain = await nest_events(environment, "trace", event.event_id)
    of_actor = await nest_events(environment, "trace", "--actor", "user-42", "--since", "1h", "--json")
    too_old = await nest_events(environment, "trace", "--actor", "user-42", "--since", "2h", "--until", "1h")

    assert (told["caller"], told["caller_established_by"]) == ("caller@example.com", "cloud_run_iam")
    assert (told["state"], told["attempts"], told["last_status"], told["replays"]) == ("DEAD", 1, 400, 0)
    assert [letter["reason"] for letter in told["dead_letters"]] == ["http_400"]
    assert [(e["kind"], e["verdict"], e["status"], e["reason"]) for e in told["history"]] == [
        ("attempt", "rejected", 400, "http_400")
    ]
    assert told["now"] == "It was given up with http_400 after 1 attempt and lies among the dead letters."
    assert told["now"] in plain.out
    assert told["published_at"] == told["dead_letters"][0]["published_at"]
    assert told["first_attempt_at"] == told["last_attempt_at"]
    assert [each["event_id"] for each in of_actor.json["events"]] == [event.event_id]
    assert (too_old.code, too_old.out) == (1, "No events of actor 'user-42' within 2h, until 1h ago.\n")


async def test_trace_and_show_list_every_attempt_and_replay_with_its_time(
    environment: dict[str, str], graveyard: Graveyard
) -> None:
    (event,) = await graveyard.log(1)
    began = datetime.now(UTC)
    await graveyard.bury([event], "http_400")
    await nest_events(environment, "dead-letters", "replay", "--yes")
    await graveyard.bury([event], "http_422")

    traced = (await nest_events(environment, "trace", event.event_id, "--json")).json
    shown = (await nest_events(environment, "dead-letters", "show", event.event_id, "--json")).json
    plain = await nest_events(environment, "trace", event.event_id)
    also_plain = await nest_events(environment, "dead-letters", "show", event.event_id)

    assert [(e["kind"], e["status"], e["reason"]) for e in traced["history"]] == [
        ("attempt", 400, "http_400"),
        ("replay", None, None),
        ("attempt", 422, "http_422"),
    ]
    assert shown["history"] == traced["history"]
    times = [datetime.fromisoformat(e["at"]) for e in traced["history"]]
    assert began <= times[0] <= times[1] <= times[2] <= datetime.now(UTC)
    for out in (plain.out, also_plain.out):
        lines = [line.split("\t")[1:4] for line in out.splitlines() if line.count("\t") == 4]
        assert lines == [
            ["what", "verdict", "status"],
            ["attempt", "rejected", "400"],
            ["replay", "", ""],
            ["attempt", "rejected", "422"],
        ]


async def test_what_was_tried_before_there_was_a_history_is_said_to_be_only_counted(
    environment: dict[str, str], graveyard: Graveyard
) -> None:
    (event,) = await graveyard.log(1)
    await graveyard.bury([event], "http_400")
    async with graveyard.database.batch() as batch:
        batch.update(LEDGER_TABLE, ("event_id", "attempts", "history"), [(event.event_id, 7, None)])

    told = (await nest_events(environment, "trace", event.event_id, "--json")).json
    plain = await nest_events(environment, "trace", event.event_id)

    assert (told["history"], told["attempts_without_history"]) == ([], 7)
    assert "7 attempts before these are only counted" in plain.out


async def test_account_adds_up_and_says_so_when_it_does_not(environment: dict[str, str], graveyard: Graveyard) -> None:
    events = await graveyard.log(4)
    await graveyard.settle_delivered(events[:2])
    await graveyard.bury(events[2:3], "http_400")
    well = await nest_events(environment, "account", "--json")
    plain = await nest_events(environment, "account", "--since", "1h")
    async with graveyard.database.batch() as batch:
        batch.update(LEDGER_TABLE, ("event_id", "state"), [(events[3].event_id, "LOST")])
    broken = await nest_events(environment, "account")

    assert well.json["total"] == {
        "accepted": 4, "delivered": 2, "pending": 1, "dead": 1, "possible_duplicates": 0, "unaccounted": 0,
    }  # fmt: skip
    assert (well.code, plain.code, broken.code) == (0, 0, 1)
    assert "It adds up" in plain.out
    assert "UNACCOUNTED" in broken.out


async def test_watch_shows_one_frame(environment: dict[str, str], graveyard: Graveyard) -> None:
    events = await graveyard.log(5)
    await graveyard.settle_delivered(events[:2])
    await graveyard.bury(events[2:3], "http_400")
    await graveyard.ledger.claim([events[3].event_id], token="t", seconds=60)
    noted = Attempt(events[3].event_id, 1, 0, datetime.now(UTC), "http_503", 503, ())
    await graveyard.ledger.release([noted], token="t")

    seen = (await nest_events(environment, "watch", "--once", "--json")).json
    plain = await nest_events(environment, "watch", "--once")

    assert (seen["accepted"], seen["delivered"], seen["dead"], seen["pending"]) == (5, 2, 1, 2)
    assert seen["dead_by_reason"] == {"http_400": 1}
    assert seen["held_up_by"] == "http_503"
    assert set(seen["last_errors"]) == {"http_400", "http_503"}
    assert seen["oldest_pending_seconds"] >= 0
    assert "attempts end with http_503" in plain.out
    assert seen["workers"] == []
    assert "none seen within 30s" in plain.out


async def test_watch_shows_the_workers_that_run_with_their_circuits(
    environment: dict[str, str], graveyard: Graveyard
) -> None:
    well, ill, stopped = [WorkerState(str(uuid.uuid4()), "1.2.3", AT) for _ in range(3)]
    await graveyard.workers.report(replace(stopped, is_stopped=True))
    await graveyard.workers.report(well)
    await graveyard.workers.report(replace(ill, circuit_reason="http_503", circuit_since=AT))

    seen = (await nest_events(environment, "watch", "--once", "--json")).json["workers"]
    plain = await nest_events(environment, "watch", "--once")

    assert {(w["worker_id"], w["circuit"], w["circuit_reason"], w["circuit_since"]) for w in seen} == {
        (well.worker_id, "closed", None, None),
        (ill.worker_id, "open", "http_503", AT.isoformat()),
    }
    assert f"{well.worker_id}  1.2.3    circuit closed" in plain.out
    assert "circuit open since 2026-03-04 05:06:07Z: http_503" in plain.out
    assert stopped.worker_id not in plain.out


async def test_reconcile_publishes_what_is_pending_for_so_long(
    environment: dict[str, str], graveyard: Graveyard
) -> None:
    await graveyard.log(450)

    ran = await nest_events(environment, "reconcile", "--now", "--rate", "10000", "--json")
    again = await nest_events(environment, "reconcile", "--now", "--rate", "10000", "--json")
    younger = await nest_events(environment, "reconcile", "--older-than", "1h", "--json")

    assert ran.json == {"pending": 450, "republished": 450}
    assert again.json == {"pending": 450, "republished": 450}
    assert younger.json == {"pending": 0, "republished": 0}
    assert (ran.audit["command"], ran.audit["count"]) == ("reconcile", 450)


async def test_doctor_finds_all_well_and_then_what_is_not(
    environment: dict[str, str], graveyard: Graveyard, tmp_path: Path
) -> None:
    await graveyard.workers.report(WorkerState(str(uuid.uuid4()), "1.2.3", AT))
    async with running_stand_in(tmp_path / "statsig.jsonl") as statsig:
        url = {"STATSIG_API_URL": statsig.api_url, "STATSIG_SERVER_SECRET": "secret-x"}
        well = await nest_events(environment | url, "doctor", "--json")
    async with graveyard.database.batch() as batch:
        batch.delete(WORKERS_TABLE, KeySet(all_=True))
    settings = graveyard.settings
    name = f"expiring-{settings.dead_letter_subscription}"
    expiring = Subscription(
        name=subscription_path(settings, name),
        topic=topic_path(settings, settings.dead_letter_topic),
        message_retention_duration=timedelta(days=7),
        expiration_policy=ExpirationPolicy(ttl=timedelta(days=31)),
    )
    await graveyard.subscriber.create_subscription(expiring)
    wrong_settings = {
        "DEAD_LETTER_SUBSCRIPTION": name,
        "FORWARD_TOPIC": "absent",
        "STATSIG_API_URL": "http://127.0.0.1:9/v1",
        "STATSIG_SERVER_SECRET": "client-x",
    }
    ill = await nest_events(environment | wrong_settings, "doctor", "--json")

    assert (well.code, well.json["wrong"]) == (0, 0), well.out
    assert "secret-x" not in well.out + well.err
    assert read_log(tmp_path / "statsig.jsonl") == []
    await graveyard.subscriber.delete_subscription(subscription=expiring.name)

    wrong = {finding["subject"]: finding for finding in ill.json["findings"] if finding["verdict"] == "wrong"}
    assert ill.code == 1
    assert set(wrong) == {"forward topic", "forward subscription", "dead-letter subscription", "worker", "statsig"}
    assert all(finding["to_do"] for finding in wrong.values()), json.dumps(wrong)


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ([], "ok"),
        ([{"behaviour": {"kind": "status", "status": 401}}], "wrong"),
        ([{"behaviour": {"kind": "status", "status": 403}}], "wrong"),
        ([{"behaviour": {"kind": "status", "status": 400}}], "unseen"),
        ([{"behaviour": {"kind": "status", "status": 302, "headers": {"Location": "http://127.0.0.1:9/"}}}], "unseen"),
        ([{"behaviour": {"kind": "status", "status": 503}}], "unseen"),
    ],
)
async def test_doctor_asks_statsig_about_the_key_without_sending_an_event(
    tmp_path: Path, rules: list[dict[str, Any]], verdict: str
) -> None:
    async with running_stand_in(tmp_path / "statsig.jsonl") as statsig:
        await pyqwest.Client().put(f"{statsig.url}/control", content=json.dumps(rules).encode())
        found = {each.subject: each.verdict for each in await statsig_findings(statsig.api_url, "secret-x")}
        keyless = {each.subject: each.verdict for each in await statsig_findings(statsig.api_url, "client-x")}
        quoted = {each.subject: each.verdict for each in await statsig_findings(statsig.api_url, "secret-x”")}

    assert found == {"statsig": "ok", "statsig key": verdict}
    assert keyless == quoted == {"statsig": "ok", "statsig key": "wrong"}
    assert read_log(tmp_path / "statsig.jsonl") == []

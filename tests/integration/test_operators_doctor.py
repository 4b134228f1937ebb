"""What `nest-events doctor` finds about each dependency and setting, and about the flow of events."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyqwest
import pytest
from google.cloud.spanner_v1 import KeySet
from google.pubsub_v1 import ExpirationPolicy, Subscription

from deploy.local.emulators import Emulators
from deploy.local.statsig_stand_in import read_log, running_stand_in
from shared.events.forward_ledger import LEDGER_TABLE
from shared.process.process_states import ProcessState, Report, Role
from shared.pubsub import subscription_path, topic_path
from shared.spanner.event_log import SpannerEventLogRepository
from shared.spanner.process_states import PROCESSES_TABLE
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import Ran, nest_events
from tests.support.sample_events import sample_event, sample_row
from tests.support.wire.tcp_proxy import Mode, tcp_proxy
from worker.operators.doctor.statsig_key import statsig_findings

pytestmark = pytest.mark.emulators

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
WORKER = ProcessState(
    process_id=str(uuid.uuid4()), role=Role.WORKER, version="1.2.3", started_at=AT, interval_seconds=10.0
)


@pytest.fixture
async def statsig(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """Settings that point to a stand-in for Statsig."""
    async with running_stand_in(tmp_path / "statsig.jsonl") as running:
        yield {"STATSIG_API_URL": running.api_url, "STATSIG_SERVER_SECRET": "secret-x"}


def wrong(ran: Ran) -> dict[str, dict[str, str]]:
    return {finding["subject"]: finding for finding in ran.json["findings"] if finding["verdict"] == "wrong"}


async def test_doctor_finds_all_well_and_then_what_is_not(
    environment: dict[str, str], seeded: SeededEvents, statsig: dict[str, str], tmp_path: Path
) -> None:
    await seeded.processes.report(WORKER)
    well = await nest_events(environment | statsig, "doctor", "--json")
    async with seeded.database.batch() as batch:
        batch.delete(PROCESSES_TABLE, KeySet(all_=True))
    settings = seeded.settings
    name = f"expiring-{settings.dead_letter_subscription}"
    expiring = Subscription(
        name=subscription_path(settings, name),
        topic=topic_path(settings, settings.dead_letter_topic),
        message_retention_duration=timedelta(days=7),
        expiration_policy=ExpirationPolicy(ttl=timedelta(days=31)),
    )
    await seeded.subscriber.create_subscription(expiring)
    wrong_settings = {
        "DEAD_LETTER_SUBSCRIPTION": name,
        "FORWARD_TOPIC": "absent",
        "STATSIG_API_URL": "http://127.0.0.1:9/v1",
        "STATSIG_SERVER_SECRET": "client-x",
    }
    ill = await nest_events(environment | wrong_settings, "doctor", "--json")
    await seeded.subscriber.delete_subscription(subscription=expiring.name)

    assert (well.code, well.json["wrong"]) == (0, 0), well.out
    assert "secret-x" not in well.out + well.err
    assert read_log(tmp_path / "statsig.jsonl") == []
    found = wrong(ill)
    assert ill.code == 1
    assert set(found) == {"forward topic", "forward subscription", "dead-letter subscription", "worker", "statsig"}
    assert all(finding["to_do"] for finding in found.values()), json.dumps(found)


async def test_doctor_fails_in_an_outage_of_statsig(
    environment: dict[str, str], seeded: SeededEvents, statsig: dict[str, str]
) -> None:
    """The circuit is open, and an event has waited longer than the objective of deliveries allows."""
    now = datetime.now(UTC)
    opened = Report(circuit_reason="http_401", circuit_since=now - timedelta(minutes=3), next_probe_at=now)
    await seeded.processes.report(replace(WORKER, report=opened))
    (event,) = await seeded.log(1)
    async with seeded.database.batch() as batch:
        pending = (event.event_id, now - timedelta(minutes=2))
        batch.update(LEDGER_TABLE, ("event_id", "pending_since"), [pending])

    ran = await nest_events(environment | statsig, "doctor", "--json")

    assert ran.code == 1
    found = wrong(ran)
    assert set(found) == {"circuit", "pending"}, ran.out
    assert "The circuit of 1 of 1 worker has been open since" in found["circuit"]["detail"]
    assert "STATSIG_SERVER_SECRET" in found["circuit"]["to_do"]
    assert "An event has been pending since" in found["pending"]["detail"]


async def test_doctor_finds_events_in_shards_where_no_worker_looks(
    environment: dict[str, str], seeded: SeededEvents, statsig: dict[str, str]
) -> None:
    await seeded.processes.report(WORKER)
    more = SpannerEventLogRepository(seeded.database, timeout_seconds=20, shards=40)
    await more.append([sample_row(sample_event()) for _ in range(60)])

    ran = await nest_events(environment | statsig, "doctor", "--json")

    assert ran.code == 1
    assert "where no worker looks while FORWARD_SHARDS is 32" in wrong(ran)["shards"]["detail"]


@pytest.mark.timeout(60)
async def test_doctor_ends_within_seconds_where_spanner_and_pubsub_say_nothing(
    environment: dict[str, str], emulators: Emulators, statsig: dict[str, str]
) -> None:
    async with tcp_proxy(emulators.spanner_host) as spanner, tcp_proxy(emulators.pubsub_host) as pubsub:
        await spanner.switch(Mode.BLACKHOLE)
        await pubsub.switch(Mode.BLACKHOLE)
        behind = {"SPANNER_EMULATOR_HOST": spanner.address, "PUBSUB_EMULATOR_HOST": pubsub.address}
        began = time.monotonic()
        ran = await nest_events(environment | statsig | behind, "doctor", "--json")
        took = time.monotonic() - began

    assert ran.code == 1
    assert {"spanner", "forward topic", "dead-letter subscription"} <= set(wrong(ran))
    unseen = {f["subject"]: f["detail"] for f in ran.json["findings"] if f["verdict"] == "unseen"}
    assert {"schema", "shards", "worker", "circuit", "pending", "ledger"} <= set(unseen)
    assert unseen["worker"] == "not known: see spanner"
    assert spanner.address in wrong(ran)["spanner"]["detail"]
    assert pubsub.address in wrong(ran)["forward topic"]["detail"]
    assert took < 30, "six seconds, and the start of a process on a busy machine"


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
        found = {each.subject: each.level for each in await statsig_findings(statsig.api_url, "secret-x")}
        keyless = {each.subject: each.level for each in await statsig_findings(statsig.api_url, "client-x")}
        quoted = {each.subject: each.level for each in await statsig_findings(statsig.api_url, "secret-x”")}

    assert found == {"statsig": "ok", "statsig key": verdict}
    assert keyless == quoted == {"statsig": "ok", "statsig key": "wrong"}
    assert read_log(tmp_path / "statsig.jsonl") == []

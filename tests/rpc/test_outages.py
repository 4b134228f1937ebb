"""Spanner or Pub/Sub unreachable: the right answer, in time, and nothing half-written."""

import asyncio
import time
from typing import Final

import pytest

from deploy import schema
from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames, provisioner
from ingress.commit.search import budget_of
from tests.support.wire.http1 import JSON, LOG_EVENTS, connection
from tests.support.wire.ingress import captured_log, open_store, running_ingress
from tests.support.wire.refusals import assert_error
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

pytestmark = pytest.mark.emulators

COMMIT_SECONDS: Final = 0.4
PUBLISH_SECONDS: Final = 0.3
BUDGET: Final = {"COMMIT_TIMEOUT_SECONDS": str(COMMIT_SECONDS), "PUBLISH_TIMEOUT_SECONDS": str(PUBLISH_SECONDS)}
SLACK_SECONDS: Final = 0.8
"""For a busy machine; the client's own bounds would be seconds and minutes."""

EVENT: Final = {"event_name": "outage"}


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE, Mode.RESET, Mode.DROP_RESPONSE])
async def test_without_spanner_a_call_is_unavailable_within_its_budget(environment: dict[str, str], mode: Mode) -> None:
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(environment | BUDGET, SPANNER_EMULATOR_HOST=proxy.address) as ingress,
        connection(ingress.port) as caller,
        open_store(environment) as store,
    ):
        await proxy.switch(mode)
        started = time.monotonic()
        answer = await caller.call(EVENT)
        took = time.monotonic() - started

        found = assert_error(answer, "unavailable", retryable=True)
        assert found.retry_info is not None
        assert found.retry_info.retry_delay is not None
        assert found.retry_info.retry_delay.seconds == 2
        assert took < COMMIT_SECONDS + PUBLISH_SECONDS + SLACK_SECONDS

        # Whether the commit happened is not known, but it is whole: the row with its ledger row, or neither.
        await proxy.switch(Mode.PASS)
        async with asyncio.timeout(10):
            while (await caller.call({"event_name": "afterwards", "forward_to_statsig": False})).status != 200:
                await asyncio.sleep(0.05)
        rows = await store.rows("e.event_name = 'outage'")
        assert {row["state"] for row in rows} <= {"PENDING"}
        if mode in (Mode.REFUSE, Mode.RESET):
            assert rows == []


async def test_a_retry_with_its_key_after_a_lost_answer_is_one_row(environment: dict[str, str]) -> None:
    event = EVENT | {"idempotency_key": "k"}
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(environment | BUDGET, SPANNER_EMULATOR_HOST=proxy.address) as ingress,
        connection(ingress.port) as caller,
        open_store(environment) as store,
    ):
        assert (await caller.call({"event_name": "before", "forward_to_statsig": False})).status == 200
        await proxy.switch(Mode.DROP_RESPONSE)
        assert_error(await caller.call(event), "unavailable", retryable=True)
        await proxy.switch(Mode.PASS)
        async with asyncio.timeout(10):
            while (again := await caller.call(event)).status != 200:
                await asyncio.sleep(0.05)

        rows = await store.rows("e.event_name = 'outage'")
        assert [row["event_id"] for row in rows] == [again.json()["eventId"]]
        assert rows[0]["state"] == "PENDING"


@pytest.mark.parametrize("key", ["", "k"])
async def test_an_event_whose_commits_answer_was_lost_is_new_and_published(
    environment: dict[str, str], key: str
) -> None:
    event = EVENT | {"idempotency_key": key}
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(environment, SPANNER_EMULATOR_HOST=proxy.address, COMMIT_TIMEOUT_SECONDS="5") as ingress,
        connection(ingress.port) as caller,
        open_store(environment) as store,
        asyncio.TaskGroup() as tasks,
    ):
        assert (await caller.call({"event_name": "before", "forward_to_statsig": False})).status == 200
        await proxy.switch(Mode.DROP_RESPONSE)
        call = tasks.create_task(caller.call(event))
        (row,) = [row for row in await store.until_rows(2) if row["event_name"] == "outage"]
        await proxy.switch(Mode.PASS)  # resets the connection, and the client commits the same again
        answer = await call

        assert answer.status == 200
        assert answer.json()["eventId"] == row["event_id"]
        assert "duplicate" not in answer.json()
        assert await store.messages(expected=1) == [row["event_id"]]
        if key:
            assert (await caller.call(event)).json()["duplicate"] is True
            assert await store.no_messages()


async def test_each_event_of_a_batch_is_unavailable_without_spanner(environment: dict[str, str]) -> None:
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(environment | BUDGET, SPANNER_EMULATOR_HOST=proxy.address) as ingress,
        connection(ingress.port) as caller,
    ):
        await proxy.switch(Mode.BLACKHOLE)
        answer = await caller.call({"events": [EVENT, {"event_name": " "}]}, path=LOG_EVENTS)

    assert answer.status == 200
    lost, bad = (outcome["error"] for outcome in answer.json()["outcomes"])
    assert (lost["code"], lost["retryInfo"]) == ("unavailable", {"retryDelay": "2s"})
    assert bad["code"] == "invalid_argument"


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE, Mode.RESET, Mode.DROP_RESPONSE])
async def test_without_pubsub_a_call_succeeds_and_stays_pending(environment: dict[str, str], mode: Mode) -> None:
    async with (
        tcp_proxy(environment["PUBSUB_EMULATOR_HOST"]) as proxy,
        running_ingress(environment | BUDGET, PUBSUB_EMULATOR_HOST=proxy.address) as ingress,
        connection(ingress.port) as caller,
        open_store(environment) as store,
    ):
        await proxy.switch(mode)
        for _ in range(3):
            started = time.monotonic()
            answer = await caller.call(EVENT)

            assert answer.status == 200
            assert time.monotonic() - started < COMMIT_SECONDS + PUBLISH_SECONDS + SLACK_SECONDS
            assert (await store.row(answer.json()["eventId"]))["state"] == "PENDING"


async def test_after_failed_publishes_calls_no_longer_wait_for_pubsub(environment: dict[str, str]) -> None:
    async with (
        tcp_proxy(environment["PUBSUB_EMULATOR_HOST"]) as proxy,
        running_ingress(environment, PUBSUB_EMULATOR_HOST=proxy.address, PUBLISH_TIMEOUT_SECONDS="0.6") as ingress,
        connection(ingress.port) as caller,
    ):
        await proxy.switch(Mode.BLACKHOLE)
        for _ in range(2):
            await caller.call(EVENT)
        started = time.monotonic()
        assert (await caller.call(EVENT)).status == 200

        assert time.monotonic() - started < 0.5


async def test_a_slow_spanner_is_slow_and_not_an_error(environment: dict[str, str]) -> None:
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(environment, SPANNER_EMULATOR_HOST=proxy.address) as ingress,
        connection(ingress.port) as caller,
    ):
        await proxy.switch(Mode.DELAY, delay_seconds=0.1)
        started = time.monotonic()
        answer = await caller.call(EVENT, JSON)

        assert answer.status == 200
        assert time.monotonic() - started >= 0.2


async def test_more_than_may_be_decoded_at_once_is_refused_until_there_is_room(environment: dict[str, str]) -> None:
    heavy = {"event_name": "heavy", "metadata": {"numbers": [1] * 100}}
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(
            environment, SPANNER_EMULATOR_HOST=proxy.address, COMMIT_TIMEOUT_SECONDS="5", MAX_DECODED_BYTES="30000"
        ) as ingress,
        connection(ingress.port) as first,
        connection(ingress.port) as second,
    ):
        assert (await first.call(heavy)).status == 200
        await proxy.switch(Mode.BLACKHOLE)
        calls = [asyncio.create_task(caller.call(heavy)) for caller in (first, second)]
        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await proxy.switch(Mode.PASS)
        await asyncio.wait(waiting)

        (refused,) = [call.result() for call in done]
        assert_error(refused, "resource_exhausted", retryable=True)
        assert b"decoded" in refused.body
        async with asyncio.timeout(10):
            while (await second.call(heavy)).status != 200:
                await asyncio.sleep(0.05)


async def test_a_database_that_refuses_every_row_blames_none_and_gets_few_commits(
    environment: dict[str, str], emulators: Emulators, names: StackNames
) -> None:
    added = [
        "ALTER TABLE NestEventLog ADD COLUMN wanted BOOL",
        "ALTER TABLE NestEventLog ALTER COLUMN wanted BOOL NOT NULL",
    ]
    async with provisioner(emulators) as admin:
        await admin.drop_database(names)
        await admin.create_database(names, [*schema.statements(), *added])
    with captured_log() as log:
        async with (
            running_ingress(environment, COMMIT_CONCURRENCY="1") as ingress,
            connection(ingress.port) as caller,
        ):
            alone = await caller.call(EVENT)
            together = await caller.call({"events": [EVENT] * 200}, path=LOG_EVENTS)

    assert_error(alone, "unavailable", retryable=True)
    assert {outcome["error"]["code"] for outcome in together.json()["outcomes"]} == {"unavailable"}
    searches = log.lines("group_refused")
    assert searches
    assert all(line["guilty"] == 0 and line["commits"] <= budget_of(200) for line in searches)
    assert sum(line["undecided"] for line in searches) >= 199  # one may have gone ahead by itself

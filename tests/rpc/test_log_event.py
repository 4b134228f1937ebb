"""LogEvent as a caller sees it, and the rows and messages that it leaves."""

import asyncio
import gzip
import json
from typing import Any

import pytest
from connectrpc.client import ConnectClient
from connectrpc.code import Code
from connectrpc.codec import proto_json_codec
from connectrpc.errors import ConnectError
from protobuf.wkt import Timestamp

from shared.events.timestamps import from_datetime, to_rfc3339
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventResponse
from shared.gen.google.rpc.error_details_pb import BadRequest
from tests.support.sample_requests import nested_lists, nested_objects, sample_request
from tests.support.wire.http1 import JSON, connection
from tests.support.wire.ingress import Ingress, Store

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]


def client(ingress: Ingress, codec: str = "binary") -> EventLoggingServiceClient:
    assert issubclass(EventLoggingServiceClient, ConnectClient)
    return EventLoggingServiceClient(ingress.url, codec=proto_json_codec() if codec == "json" else None)


@pytest.mark.parametrize("codec", ["json", "binary"])
async def test_answers_once_the_row_is_committed_and_the_message_published(
    ingress: Ingress, store: Store, codec: str
) -> None:
    request = sample_request(
        {"total": 12.5, "items": ["a", "b"]},
        event_type="billing",
        actor_id="user-1",
        event_ts=Timestamp(seconds=1_700_000_000, nanos=123_456_789),
    )
    async with client(ingress, codec) as caller:
        answer = await caller.log_event(request)

    row = await store.row(answer.event_id)
    assert (row["event_name"], row["event_type"], row["actor_id"]) == ("order_paid", "billing", "user-1")
    assert to_rfc3339(from_datetime(row["event_ts"])) == "2023-11-14T22:13:20.123456789Z"
    assert {key: row["metadata"][key] for key in ("total", "items")} == {"total": 12.5, "items": ["a", "b"]}
    assert (row["forward_to_statsig"], row["state"]) == (True, "PENDING")
    assert (answer.duplicate, list(answer.warnings)) == (False, [])
    assert await store.messages(expected=1) == [answer.event_id]


async def test_what_is_not_to_be_forwarded_has_no_ledger_row_and_no_message(ingress: Ingress, store: Store) -> None:
    async with client(ingress) as caller:
        answer = await caller.log_event(sample_request(forward_to_statsig=False))

    row = await store.row(answer.event_id)
    assert (row["forward_to_statsig"], row["state"]) == (False, None)
    assert await store.no_messages()


@pytest.mark.parametrize("fields", [{"eventName": "a", "actorId": "b"}, {"event_name": "a", "actor_id": "b"}])
async def test_json_takes_both_spellings(ingress: Ingress, store: Store, fields: dict[str, str]) -> None:
    async with connection(ingress.port) as caller:
        answer = await caller.call(fields | {"forward_to_statsig": False, "unknown": {"x": 1}})

    assert answer.headers["content-type"] == "application/json"
    row = await store.row(answer.json()["eventId"])
    assert (row["event_name"], row["actor_id"]) == ("a", "b")


async def test_takes_and_gives_gzip(ingress: Ingress, store: Store) -> None:
    body = json.dumps({"event_name": "zipped", "metadata": {"k": "x" * 50_000}, "forward_to_statsig": False}).encode()
    async with connection(ingress.port) as caller:
        headers = JSON | {"content-encoding": "gzip", "accept-encoding": "gzip"}
        answer = await caller.call(gzip.compress(body), headers)

    assert answer.headers["content-encoding"] == "gzip"
    row = await store.row(json.loads(gzip.decompress(answer.body))["eventId"])
    assert len(row["metadata"]["k"]) == 50_000


@pytest.mark.parametrize(
    "metadata",
    [
        {"k": "x" * (65_536 - len('{"k":""}'))},
        {f"k{n}": n for n in range(100)},
        nested_objects(32),
        nested_lists(32),
        {"k": r"\u0000", "": "é", "n": 1.7976931348623157e308, "m": 2.0**53},
    ],
    ids=["65,536 bytes", "100 keys", "32 objects", "32 lists", "odd values"],
)
@pytest.mark.parametrize("codec", ["json", "binary"])
async def test_stores_what_is_just_within_the_limits(
    ingress: Ingress, store: Store, metadata: dict[str, Any], codec: str
) -> None:
    async with client(ingress, codec) as caller:
        answer = await caller.log_event(sample_request(metadata, forward_to_statsig=False))

    stored = (await store.row(answer.event_id))["metadata"]
    assert {key: value for key, value in stored.items() if key != "_eventLog"} == metadata


@pytest.mark.parametrize("year", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999Z"])
async def test_stores_times_long_ago(ingress: Ingress, store: Store, year: str) -> None:
    async with connection(ingress.port) as caller:
        answer = await caller.call({"event_name": "old", "event_ts": year, "forward_to_statsig": False})

    stored = (await store.row(answer.json()["eventId"]))["event_ts"]
    assert to_rfc3339(from_datetime(stored)).replace(".000000000", "") == year


async def test_a_retry_with_its_key_is_a_duplicate(ingress: Ingress, store: Store) -> None:
    request = sample_request(event_name="keyed", idempotency_key="retry")
    async with client(ingress) as caller:
        first, again = [await caller.log_event(request) for _ in range(2)]

    assert (first.duplicate, again.duplicate) == (False, True)
    assert first.event_id == again.event_id
    assert len(await store.rows("e.event_name = 'keyed'")) == 1
    assert await store.messages(expected=1) == [first.event_id]
    assert await store.no_messages()


async def test_fifty_concurrent_calls_with_one_key_are_one_row(ingress: Ingress, store: Store) -> None:
    request = sample_request(event_name="raced", idempotency_key="race")
    async with client(ingress) as caller:
        answers = await asyncio.gather(*(caller.log_event(request) for _ in range(50)))

    assert len({answer.event_id for answer in answers}) == 1
    assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 49
    assert len(await store.rows("e.event_name = 'raced'")) == 1
    assert await store.messages(expected=1) == [answers[0].event_id]
    assert await store.no_messages()


async def test_fifty_concurrent_calls_without_a_key_are_fifty_rows(ingress: Ingress, store: Store) -> None:
    async with client(ingress) as caller:
        answers = await asyncio.gather(*(caller.log_event(sample_request(event_name="many")) for _ in range(50)))

    ids = {answer.event_id for answer in answers}
    assert len(ids) == 50
    assert {row["event_id"] for row in await store.rows("e.event_name = 'many'")} == ids
    assert set(await store.messages(expected=50)) == ids


def _warnings(answer: LogEventResponse) -> list[tuple[str, str]]:
    warnings: list[Any] = list(answer.warnings)  # generated; typed as the builtin of the same name
    assert all(warning.description for warning in warnings)
    return [(warning.field, warning.reason) for warning in warnings]


async def test_warns_of_what_statsig_would_cut(ingress: Ingress, store: Store) -> None:
    metadata = {"event_id": "mine", "dump": "x" * 5000, "value": "v" * 65}
    async with client(ingress) as caller:
        answer = await caller.log_event(sample_request(metadata, event_name="n" * 65))

    assert set(_warnings(answer)) == {
        ("event_name", "statsig_name_cut"),
        ("metadata.value", "statsig_value_cut"),
        ("metadata.event_id", "statsig_metadata_replaced"),
        ("metadata.dump", "statsig_metadata_cut"),
    }
    assert (await store.row(answer.event_id))["metadata"]["dump"] == "x" * 5000
    await store.messages(expected=1)


async def test_warns_of_a_name_that_statsig_drops_where_nothing_is_forwarded(ingress: Ingress) -> None:
    request = sample_request({"dump": "x" * 5000}, event_name="a;b", forward_to_statsig=False)
    async with client(ingress) as caller:
        answer = await caller.log_event(request)

    assert _warnings(answer) == [("event_name", "statsig_name_dropped")]


async def test_the_generated_client_gets_the_details_of_an_error(ingress: Ingress) -> None:
    async with client(ingress) as caller:
        with pytest.raises(ConnectError) as caught:
            await caller.log_event(sample_request(event_name=" "))

    assert caught.value.code is Code.INVALID_ARGUMENT
    found = [detail.value(BadRequest) for detail in caught.value.details if detail.type_name == "google.rpc.BadRequest"]
    assert found[0] is not None
    assert found[0].field_violations[0].field == "event_name"


async def test_every_answer_has_a_request_id_of_its_own(ingress: Ingress) -> None:
    body = {"event_name": "a", "forward_to_statsig": False}
    async with connection(ingress.port) as caller:
        answers = [await caller.call(body, JSON | {"x-request-id": "theirs"}) for _ in range(2)]

    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert "theirs" not in ids

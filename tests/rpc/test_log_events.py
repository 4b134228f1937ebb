"""LogEvents: one outcome for each event, in order."""

from typing import Any

import pytest

from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import (
    LogEventError,
    LogEventOutcome,
    LogEventRequest,
    LogEventResponse,
    LogEventsRequest,
)
from tests.support.sample_requests import sample_request
from tests.support.wire.http1 import LOG_EVENTS, connection
from tests.support.wire.ingress import Ingress, Store

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]


async def outcomes(ingress: Ingress, requests: list[LogEventRequest]) -> list[LogEventOutcome]:
    async with EventLoggingServiceClient(ingress.url) as caller:
        answer = await caller.log_events(LogEventsRequest(events=requests))
    return list(answer.outcomes)


def logged(outcome: LogEventOutcome) -> LogEventResponse:
    assert outcome.outcome is not None
    assert isinstance(outcome.outcome.value, LogEventResponse), outcome
    return outcome.outcome.value


def error(outcome: LogEventOutcome) -> LogEventError:
    assert outcome.outcome is not None
    assert isinstance(outcome.outcome.value, LogEventError), outcome
    return outcome.outcome.value


async def test_mixed_outcomes_come_in_the_order_of_the_request(ingress: Ingress, store: Store) -> None:
    requests = [
        sample_request(event_name="batch-0"),
        sample_request(event_name=" "),
        sample_request(event_name="batch-2", idempotency_key="batch"),
        sample_request(event_name="batch-2", idempotency_key="batch"),
        sample_request(event_name="batch-4", idempotency_key="batch"),
        sample_request(event_name="x" * 5000),
        sample_request({"dump": "x" * 5000}, event_name="batch-6"),
        LogEventRequest(),
        sample_request(event_name="batch;8", forward_to_statsig=False),
    ]

    found = await outcomes(ingress, requests)

    ids = {row["event_name"]: row["event_id"] for row in await store.rows("STARTS_WITH(e.event_name, 'batch')")}
    assert set(ids) == {"batch-0", "batch-2", "batch-6", "batch;8"}
    assert logged(found[0]).event_id == ids["batch-0"]
    assert [(v.field, v.reason) for v in _violations(error(found[1]))] == [("event_name", "REQUIRED")]
    pair = [logged(found[2]), logged(found[3])]
    assert {one.event_id for one in pair} == {ids["batch-2"]}
    assert [one.duplicate for one in pair] == [False, True]
    assert error(found[4]).code == "already_exists"
    assert [(v.field, v.reason) for v in _violations(error(found[5]))] == [("event_name", "MAX_LEN")]
    assert _reasons(logged(found[6])) == ["statsig_metadata_cut"]
    assert error(found[7]).code == "invalid_argument"
    assert _reasons(logged(found[8])) == ["statsig_name_dropped"]
    forwarded = {ids["batch-0"], ids["batch-2"], ids["batch-6"]}
    assert set(await store.messages(expected=3)) == forwarded


def _reasons(answer: LogEventResponse) -> list[str]:
    warnings: list[Any] = list(answer.warnings)  # generated; typed as the builtin of the same name
    return [warning.reason for warning in warnings]


def _violations(refusal: LogEventError) -> list[Any]:
    assert refusal.code == "invalid_argument"
    assert refusal.bad_request is not None
    assert refusal.retry_info is None
    return list(refusal.bad_request.field_violations)


async def test_500_events_are_500_rows(ingress: Ingress, store: Store) -> None:
    requests = [sample_request(event_name="full", actor_id=str(n), forward_to_statsig=False) for n in range(500)]

    found = [logged(outcome) for outcome in await outcomes(ingress, requests)]

    rows = {row["event_id"]: row["actor_id"] for row in await store.rows("e.event_name = 'full'")}
    assert [rows[one.event_id] for one in found] == [str(n) for n in range(500)]


async def test_what_does_not_decode_is_refused_alone_and_named_by_its_place(ingress: Ingress, store: Store) -> None:
    good = {"event_name": "near", "forward_to_statsig": False}
    bad: list[Any] = [
        {"event_name": "far", "event_ts": "yesterday"},
        {"event_name": 5, "metadata": []},
        {"event_name": ""},
        "no event",
        {"event_name": "far", "metadata": {"k": [[[]]] * 20_000}},
    ]
    events = [each for one in bad for each in (good, one)]
    async with connection(ingress.port) as caller:
        answer = await caller.call({"events": events}, path=LOG_EVENTS)

    assert answer.status == 200
    found = answer.json()["outcomes"]
    assert all("logged" in outcome for outcome in found[::2])
    errors = [outcome["error"] for outcome in found[1::2]]
    assert [one["code"] for one in errors] == ["invalid_argument"] * 5
    assert [_broken(one) for one in errors] == [
        [("event_ts", "TYPE")],
        [("event_name", "TYPE"), ("metadata", "TYPE")],
        [("event_name", "REQUIRED")],
        [],
        [],
    ]
    assert errors[0]["message"].startswith("events[1].event_ts: must be")
    assert errors[1]["message"].startswith("events[3].event_name: must be a string; events[3].metadata: must be")
    assert errors[2]["message"].startswith("events[5].event_name: ")
    assert errors[3]["message"] == "events[7] must be a JSON object"
    assert errors[4]["message"].startswith("events[9] has more values")
    assert len(await store.rows("e.event_name = 'near'")) == len(bad)
    assert await store.rows("e.event_name = 'far'") == []


def _broken(refusal: dict[str, Any]) -> list[tuple[str, str]]:
    violations = refusal.get("badRequest", {}).get("fieldViolations", [])
    return [(violation["field"], violation["reason"]) for violation in violations]


async def test_a_batch_of_only_bad_events_succeeds_as_a_call(ingress: Ingress) -> None:
    found = await outcomes(ingress, [LogEventRequest(), sample_request(event_name="\t")])

    assert [error(outcome).code for outcome in found] == ["invalid_argument"] * 2

"""The caller is recorded in the row, with the way it was established."""

import base64
import json
from typing import Any

import pytest
import requests

from tests.support.wire.http1 import JSON, LOG_EVENTS, connection
from tests.support.wire.ingress import Ingress, Store, running_ingress
from tests.support.wire.refusals import assert_error

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]


def bearer(email: str, **others: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"email": email, **others}).encode()).decode().rstrip("=")
    return f"Bearer eyJhbGciOiJSUzI1NiJ9.{claims}.SIGNATURE_REMOVED_BY_GOOGLE"


ALICE = "alice@example.com"
CASES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "nothing": ({}, {"principal": None, "source": "none"}),
    "a token": ({"authorization": bearer(ALICE)}, {"principal": ALICE, "source": "unverified_token"}),
    "a plain header": (
        {"x-goog-authenticated-user-email": f"accounts.google.com:{ALICE}"},
        {"principal": ALICE, "source": "unverified_header"},
    ),
    "a malformed token and a plain header": (
        {"authorization": "Bearer x", "x-goog-authenticated-user-email": f"accounts.google.com:{ALICE}"},
        {"principal": ALICE, "source": "unverified_header"},
    ),
    "an address with an apostrophe": (
        {"authorization": bearer("o'brien@corp.com")},
        {"principal": "o'brien@corp.com", "source": "unverified_token"},
    ),
    "an assertion that nobody verifies": ({"x-goog-iap-jwt-assertion": "a.b.c"}, {"principal": None, "source": "none"}),
    "forwarding headers": (
        {"x-forwarded-for": ALICE, "forwarded": f"for={ALICE}"},
        {"principal": None, "source": "none"},
    ),
}


@pytest.mark.parametrize(("headers", "recorded"), CASES.values(), ids=CASES.keys())
async def test_records_the_caller(
    ingress: Ingress, store: Store, headers: dict[str, str], recorded: dict[str, Any]
) -> None:
    async with connection(ingress.port) as caller:
        answer = await caller.call({"event_name": "who", "forward_to_statsig": False}, JSON | headers)

    row = await store.row(answer.json()["eventId"])
    own = row["metadata"]["_eventLog"]
    assert own["caller"] == recorded
    assert own["schema_version"] == 1
    assert row["caller"] == recorded["principal"]
    assert len(row["request_digest"]) == 64


async def test_a_token_is_recorded_as_checked_where_the_deployment_says_that_it_is(
    module_environment: dict[str, str], store: Store
) -> None:
    headers = JSON | {"authorization": bearer("eve@example.com"), "x-serverless-authorization": bearer(ALICE)}
    async with (
        running_ingress(module_environment, TRUST_CLOUD_RUN_IAM="true") as ingress,
        connection(ingress.port) as caller,
    ):
        answer = await caller.call({"event_name": "who", "forward_to_statsig": False}, headers)

    own = (await store.row(answer.json()["eventId"]))["metadata"]["_eventLog"]
    assert own["caller"] == {"principal": ALICE, "source": "cloud_run_iam"}


async def test_a_caller_whose_address_changed_keeps_its_keys_and_who_was_given_it_has_others(
    ingress: Ingress, store: Store
) -> None:
    fields = {"event_name": "who", "idempotency_key": "kept", "forward_to_statsig": False}
    async with connection(ingress.port) as caller:
        first, renamed, successor = [
            (await caller.call(fields, JSON | {"authorization": bearer(email, sub=subject)})).json()
            for email, subject in ((ALICE, "1234"), ("alice.new@example.com", "1234"), (ALICE, "5678"))
        ]

    assert renamed == first | {"duplicate": True}
    assert successor["eventId"] != first["eventId"]
    row = await store.row(first["eventId"])
    assert row["caller"] == ALICE
    assert "1234" not in json.dumps(row["metadata"])


async def test_two_callers_with_one_key_do_not_meet(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        answers = [
            await caller.call(
                {"event_name": "who", "actor_id": email, "idempotency_key": "k", "forward_to_statsig": False},
                JSON | {"authorization": bearer(email)},
            )
            for email in (ALICE, "bob@example.com")
        ]

    assert [answer.status for answer in answers] == [200, 200]
    assert len({answer.json()["eventId"] for answer in answers}) == 2


async def test_all_callers_without_an_identity_share_the_scope_of_their_keys(ingress: Ingress) -> None:
    fields = {"event_name": "who", "idempotency_key": "nobody's", "forward_to_statsig": False}
    async with connection(ingress.port) as caller, connection(ingress.port) as another:
        first = await caller.call(fields)
        same = await another.call(fields)
        other = await another.call(fields | {"actor_id": "other"})

    assert same.json() == first.json() | {"duplicate": True}
    assert other.status == 409


async def test_without_keys_to_check_an_assertion_only_what_has_no_idempotency_key_is_logged(
    module_environment: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_url: str) -> Any:
        raise requests.ConnectionError("unreachable")

    monkeypatch.setattr("ingress.callers.iap._fetch_keys", unreachable)
    header = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": "new"}).encode()).decode().rstrip("=")
    headers = JSON | {"x-goog-iap-jwt-assertion": f"{header}.e30.c2ln", "authorization": bearer(ALICE)}
    free: dict[str, Any] = {"event_name": "unchecked", "forward_to_statsig": False}
    keyed = free | {"idempotency_key": "k"}
    async with (
        running_ingress(module_environment, IAP_AUDIENCE="/projects/1/global/backendServices/2") as ingress,
        connection(ingress.port) as caller,
    ):
        alone = await caller.call(keyed, headers)
        without = await caller.call(free | {"idempotency_key": " "}, headers)
        several = await caller.call({"events": [free, keyed, free]}, headers, path=LOG_EVENTS)

    assert_error(alone, "unavailable", retryable=True)
    assert "idempotency_key" in alone.json()["message"]
    assert without.status == 200
    first, middle, last = several.json()["outcomes"]
    assert middle["error"]["code"] == "unavailable"
    assert middle["error"]["retryInfo"]
    written = {row["event_id"] for row in await store.rows("e.event_name = 'unchecked'")}
    assert written == {without.json()["eventId"], first["logged"]["eventId"], last["logged"]["eventId"]}


@pytest.mark.parametrize("key_id", ["unknown", [], {}], ids=["unknown", "a list", "an object"])
async def test_a_forged_assertion_is_of_no_effect(
    module_environment: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch, key_id: Any
) -> None:
    monkeypatch.setattr("ingress.callers.iap._fetch_keys", lambda _url: {})
    header = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": key_id}).encode()).decode().rstrip("=")
    async with (
        running_ingress(module_environment, IAP_AUDIENCE="/projects/1/global/backendServices/2") as ingress,
        connection(ingress.port) as caller,
    ):
        headers = JSON | {"x-goog-iap-jwt-assertion": f"{header}.e30.c2ln", "authorization": bearer(ALICE)}
        answer = await caller.call({"event_name": "forged", "forward_to_statsig": False}, headers)

    assert answer.status == 200
    own = (await store.row(answer.json()["eventId"]))["metadata"]["_eventLog"]
    assert own["caller"] == {"principal": ALICE, "source": "unverified_token"}

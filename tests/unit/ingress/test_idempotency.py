"""event_id and request digest: what a retry is, and what is a reuse of its key."""

import uuid
from typing import Any

import pytest
from protobuf.wkt import Struct, Timestamp

from ingress.normalization import Defaults, normalize_log_event_request
from shared.events.event import ANONYMOUS, Caller, CallerSource
from tests.support.sample_events import NOW
from tests.support.sample_requests import ALICE, DEFAULTS, normalize, sample_request

BOB = Caller("bob@example.com", CallerSource.CLOUD_RUN_IAM)
FIXED = uuid.UUID(int=42, version=4)


def event_id(caller: Caller = ALICE, key: str = "key-1") -> str:
    return normalize(sample_request(idempotency_key=key), caller=caller).event.event_id


def test_without_a_key_every_call_is_another_event() -> None:
    rows = [normalize(sample_request()) for _ in range(3)]

    assert len({row.event.event_id for row in rows}) == 3
    assert {uuid.UUID(row.event.event_id).version for row in rows} == {4}


def test_without_a_key_the_id_comes_from_the_generator() -> None:
    row = normalize_log_event_request(
        sample_request(), caller=ALICE, now_nanos=NOW, defaults=DEFAULTS, new_uuid=lambda: FIXED
    )

    assert row.event.event_id == str(FIXED)


@pytest.mark.parametrize("key", ["", "key-1"])
def test_every_call_has_a_write_id_of_its_own(key: str) -> None:
    rows = [normalize(sample_request(idempotency_key=key)) for _ in range(3)]

    assert len({row.write_id for row in rows}) == 3
    assert len({row.request_digest for row in rows}) == 1


def test_the_same_key_of_the_same_caller_is_the_same_event() -> None:
    row = normalize(sample_request(idempotency_key="key-1"))

    assert row.event.event_id == event_id()
    assert uuid.UUID(row.event.event_id).version == 5


def test_the_ids_of_keys_do_not_change_between_versions() -> None:
    # Stored ids depend on it: a changed scheme would make every retry across a deployment a new event.
    assert event_id() == expected_id('[false,"alice@example.com","key-1"]')
    assert event_id(Caller(ALICE.principal, ALICE.source, "1234")) == expected_id('[false,"1234","key-1"]')


def expected_id(scope: str) -> str:
    return str(uuid.uuid5(uuid.UUID("7d1d0f3c-6a0e-4f0e-9b5f-0b1f6f7a9c52"), scope))


def test_a_key_is_trimmed() -> None:
    assert event_id(key=" key-1\n") == event_id(key="key-1")


@pytest.mark.parametrize("key", ["", " \t"])
def test_a_blank_key_is_none(key: str) -> None:
    row = normalize(sample_request(idempotency_key=key))

    assert uuid.UUID(row.event.event_id).version == 4


def test_other_callers_and_other_keys_are_other_events() -> None:
    unverified = [Caller(ALICE.principal, source) for source in CallerSource if source.value.startswith("unverified")]
    ids = [event_id(ALICE), event_id(BOB), event_id(ANONYMOUS), event_id(unverified[0]), event_id(key="key-2")]

    assert len(set(ids)) == len(ids)


def test_one_identity_verified_in_two_ways_has_one_scope() -> None:
    assert event_id(Caller(ALICE.principal, CallerSource.IAP_ASSERTION)) == event_id(ALICE)


def test_a_key_belongs_to_the_subject_whatever_address_it_has() -> None:
    subjects = [Caller(email, CallerSource.CLOUD_RUN_IAM, "1234") for email in (ALICE.principal, BOB.principal, "1234")]

    assert len({event_id(caller) for caller in subjects}) == 1


def test_who_is_given_an_address_does_not_reach_the_keys_of_who_had_it() -> None:
    owners = [Caller(ALICE.principal, CallerSource.CLOUD_RUN_IAM, subject) for subject in ("1234", "5678")]

    assert len({event_id(caller) for caller in [*owners, ALICE]}) == 3


def test_a_subject_that_anyone_could_have_claimed_does_not_reach_the_keys_of_a_verified_one() -> None:
    verified = Caller(ALICE.principal, CallerSource.CLOUD_RUN_IAM, "1234")
    claimed = Caller(ALICE.principal, CallerSource.UNVERIFIED_TOKEN, "1234")

    assert event_id(verified) != event_id(claimed)


def test_the_subject_is_not_stored() -> None:
    caller = Caller(ALICE.principal, CallerSource.CLOUD_RUN_IAM, "subject-canary")
    row = normalize(sample_request(idempotency_key="key-1"), caller=caller)

    assert "subject-canary" not in repr(row)
    assert row.event.caller == ALICE.principal


def test_a_principal_and_key_cannot_be_split_in_another_place() -> None:
    assert event_id(Caller("a", CallerSource.CLOUD_RUN_IAM), "bc") != event_id(
        Caller("ab", CallerSource.CLOUD_RUN_IAM), "c"
    )


@pytest.mark.parametrize(
    "again",
    [
        {"now": NOW + 10**12},
        {"defaults": Defaults(forward_to_statsig=False, max_metadata_bytes=65_536)},
        {"caller": BOB},
    ],
)
def test_the_digest_depends_on_nothing_but_the_request(again: dict[str, Any]) -> None:
    request = sample_request({"a": 1}, idempotency_key="k")

    assert normalize(request, **again).request_digest == normalize(request).request_digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":2}', '{ "b": 2.0, "a": 1e0 }'),
        ('{"a":[{"x":0,"y":1}]}', '{"a":[{"y":1,"x":-0.0}]}'),
        ('{"a":"\\u00fc"}', '{"a":"ü"}'),
    ],
)
def test_the_digest_is_that_of_the_content_not_of_its_spelling(one: str, other: str) -> None:
    assert (
        normalize(sample_request(Struct.from_json(one))).request_digest
        == normalize(sample_request(Struct.from_json(other))).request_digest
    )


def test_the_digest_ignores_what_trimming_removes() -> None:
    assert (
        normalize(sample_request(event_name=" a ")).request_digest
        == normalize(sample_request(event_name="a")).request_digest
    )


def test_the_digest_depends_on_everything_the_caller_sent() -> None:
    requests = [
        sample_request(),
        sample_request(event_name="other"),
        sample_request(event_type="a"),
        sample_request(actor_id="a"),
        sample_request(event_ts=Timestamp(seconds=1)),
        sample_request(event_ts=Timestamp(seconds=1, nanos=1)),
        sample_request(event_ts=Timestamp.from_nanos(NOW)),
        sample_request({"a": 1}),
        sample_request({"a": "1"}),
        sample_request({"a": True}),
        sample_request({"a": None}),
        sample_request({"a": [1]}),
        sample_request({"b": 1}),
        sample_request(forward_to_statsig=True),
        sample_request(forward_to_statsig=False),
    ]

    assert len({normalize(request).request_digest for request in requests}) == len(requests)

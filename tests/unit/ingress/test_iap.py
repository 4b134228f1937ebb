"""IAP's assertion: verified with real ES256 keys, or without effect."""

import time
from typing import Any

import pytest

from ingress.callers.identity import caller_from_headers
from shared.events.event import Caller, CallerSource
from tests.support.wire.iap_keys import ALICE, AUDIENCE, KEY, Key, Keys, segment, verifier


async def test_a_valid_assertion_names_the_caller() -> None:
    assert await verifier(Keys(KEY)).verify(KEY.sign()) == ALICE


async def test_a_subject_stands_in_for_an_email() -> None:
    caller = await verifier(Keys(KEY)).verify(KEY.sign(email=None))

    assert caller == Caller("accounts.google.com:1234", CallerSource.IAP_ASSERTION, "1234")


async def test_the_subject_is_the_one_that_an_id_token_of_the_same_account_has() -> None:
    token = f"Bearer e30.{segment({'email': 'alice@example.com', 'sub': '1234'})}."
    by_token = caller_from_headers({"authorization": token}, trust_cloud_run_iam=True)

    by_assertion = await verifier(Keys(KEY)).verify(KEY.sign(sub="accounts.google.com:1234"))

    assert by_assertion is not None
    assert by_assertion.subject == by_token.subject == "1234"


@pytest.mark.parametrize("subject", [None, 1234, "two\nlines"])
async def test_an_assertion_without_a_usable_subject_is_known_by_its_email_alone(subject: object) -> None:
    caller = await verifier(Keys(KEY)).verify(KEY.sign(sub=subject))

    assert caller == Caller("alice@example.com", CallerSource.IAP_ASSERTION)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "/projects/1/global/backendServices/3"},
        {"aud": None},
        {"aud": [AUDIENCE]},
        {"iss": "https://example.com"},
        {"iss": None},
        {"exp": int(time.time()) - 31 - 60, "iat": int(time.time()) - 600},
        {"exp": None},
        {"iat": int(time.time()) + 600, "exp": int(time.time()) + 1200},
        {"email": None, "sub": None},
        {"email": "two\nlines", "sub": None},
        {"exp": "soon"},
        {"iat": [], "exp": {}},
    ],
)
async def test_an_assertion_with_a_wrong_claim_is_of_no_effect(claims: dict[str, Any]) -> None:
    assert await verifier(Keys(KEY)).verify(KEY.sign(**claims)) is None


async def test_tolerates_a_clock_that_is_half_a_minute_off() -> None:
    now = int(time.time())

    assert await verifier(Keys(KEY)).verify(KEY.sign(iat=now - 600, exp=now - 20)) == ALICE


async def test_an_assertion_signed_by_another_key_is_of_no_effect() -> None:
    forged = Key(KEY.key_id)

    assert await verifier(Keys(KEY)).verify(forged.sign()) is None


async def test_an_unsigned_assertion_is_of_no_effect() -> None:
    _, payload, signature = KEY.sign().split(".")
    for header in ({"alg": "none"}, {"alg": "none", "kid": KEY.key_id}):
        for end in ("", signature):
            assert await verifier(Keys(KEY)).verify(f"{segment(header)}.{payload}.{end}") is None


@pytest.mark.parametrize("algorithm", ["RS256", "HS256", "ES384", "es256", None, 1, [], {}])
async def test_an_assertion_with_another_algorithm_is_of_no_effect(algorithm: Any) -> None:
    _, payload, signature = KEY.sign().split(".")
    header = segment({"alg": algorithm, "kid": KEY.key_id})

    assert await verifier(Keys(KEY)).verify(f"{header}.{payload}.{signature}") is None


@pytest.mark.parametrize("key_id", ["unknown", 1, [], {}, ["key-1"], {"a": 1}, True])
async def test_an_assertion_with_a_strange_key_id_is_of_no_effect(key_id: Any) -> None:
    _, payload, signature = KEY.sign().split(".")
    header = segment({"alg": "ES256", "kid": key_id})

    assert await verifier(Keys(KEY)).verify(f"{header}.{payload}.{signature}") is None


@pytest.mark.parametrize(
    "assertion",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        "\x00",
        f"{segment([])}.{segment({})}.",
        f"{segment({})}.{segment([])}.",
        "x" * 20_000,
    ],
)
async def test_garbage_is_of_no_effect(assertion: str) -> None:
    assert await verifier(Keys(KEY)).verify(assertion) is None

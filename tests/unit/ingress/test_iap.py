"""IAP's assertion: verified with real ES256 keys, or of no effect."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import jwt
from google.auth.crypt.es import EsSigner

from ingress.callers.iap import REFRESH_SECONDS, RETRY_SECONDS, IapVerifier
from ingress.callers.identity import caller_from_headers
from shared.errors import UncheckedCallerError
from shared.events.event import Caller, CallerSource
from tests.support.clock import ManualClock

AUDIENCE = "/projects/1/global/backendServices/2"
ALICE = Caller("alice@example.com", CallerSource.IAP_ASSERTION, "1234")


class Key:
    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        private = ec.generate_private_key(ec.SECP256R1())
        self.private_pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.public_pem = (
            private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def sign(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(time.time())
        usual = {
            "iss": "https://cloud.google.com/iap",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            "email": "alice@example.com",
            "sub": "accounts.google.com:1234",
        }
        payload = {name: value for name, value in (usual | claims).items() if value is not None}
        signer = EsSigner.from_string(self.private_pem, self.key_id)
        return str(jwt.encode(signer, payload, header=header).decode())


KEY = Key("key-1")
OTHER = Key("key-2")


class Keys:
    """Where the keys come from; counts."""

    def __init__(self, *keys: Key, failing: Exception | None = None) -> None:
        self.keys = keys
        self.failing = failing
        self.fetches = 0

    def __call__(self) -> Mapping[str, str]:
        self.fetches += 1
        if self.failing:
            raise self.failing
        return {key.key_id: key.public_pem for key in self.keys}


def verifier(keys: Callable[[], Mapping[str, str]], clock: ManualClock | None = None) -> IapVerifier:
    return IapVerifier(audience=AUDIENCE, clock=clock or ManualClock(), fetch_keys=keys)


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


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


async def test_keys_are_fetched_once_for_many_assertions() -> None:
    keys = Keys(KEY)
    verifying = verifier(keys)
    for _ in range(5):
        assert await verifying.verify(KEY.sign()) == ALICE

    assert keys.fetches == 1


async def test_concurrent_first_calls_share_one_fetch() -> None:
    keys = Keys(KEY)
    verifying = verifier(keys)
    callers: list[Caller | None] = []

    async def verify() -> None:
        callers.append(await verifying.verify(KEY.sign()))

    async with anyio.create_task_group() as calls:
        for _ in range(10):
            calls.start_soon(verify)

    assert callers == [ALICE] * 10
    assert keys.fetches == 1


async def test_made_up_key_ids_do_not_make_us_fetch() -> None:
    keys, clock = Keys(KEY), ManualClock()
    verifying = verifier(keys, clock)
    assert await verifying.verify(Key("made-up").sign()) is None
    for number in range(20):
        clock.advance(1)
        with pytest.raises(UncheckedCallerError):  # it may be one that was made since
            await verifying.verify(Key(f"made-up-{number}").sign())

    assert keys.fetches == 1


async def test_a_new_key_is_known_after_the_pause_between_fetches() -> None:
    keys, clock = Keys(KEY), ManualClock()
    verifying = verifier(keys, clock)
    assert await verifying.verify(KEY.sign()) == ALICE
    keys.keys = (KEY, OTHER)

    clock.advance(REFRESH_SECONDS - 1)
    with pytest.raises(UncheckedCallerError):
        await verifying.verify(OTHER.sign())
    clock.advance(1)
    assert await verifying.verify(OTHER.sign()) == ALICE
    assert keys.fetches == 2


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("secret"), requests.Timeout("secret"), ValueError("secret")]
)
async def test_without_keys_nothing_can_be_said_of_an_assertion_until_the_next_try(error: Exception) -> None:
    keys, clock = Keys(failing=error), ManualClock()
    verifying = verifier(keys, clock)
    for _ in range(3):
        with pytest.raises(UncheckedCallerError):
            await verifying.verify(KEY.sign())
    assert keys.fetches == 1

    keys.keys, keys.failing = (KEY,), None
    clock.advance(RETRY_SECONDS)
    assert await verifying.verify(KEY.sign()) == ALICE


async def test_known_keys_outlive_a_failing_fetch() -> None:
    keys, clock = Keys(KEY), ManualClock()
    verifying = verifier(keys, clock)
    assert await verifying.verify(KEY.sign()) == ALICE

    keys.failing = requests.ConnectionError()
    clock.advance(REFRESH_SECONDS)
    with pytest.raises(UncheckedCallerError):
        await verifying.verify(OTHER.sign())
    assert await verifying.verify(KEY.sign()) == ALICE

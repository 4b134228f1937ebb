"""The caller's identity from headers: the most trustworthy one or none, never an error."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.callers.identity import caller_from_headers, usable_principal
from shared.events.event import ANONYMOUS, Caller, CallerSource
from tests.support.strategies import hostile_text


def token(claims: Any, *, signature: str = "c2ln") -> str:
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return f"eyJhbGciOiJSUzI1NiJ9.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.{signature}"


def caller(*, trusted: bool = True, **headers: str) -> Caller:
    return caller_from_headers(
        {name.replace("_", "-"): value for name, value in headers.items()}, trust_cloud_run_iam=trusted
    )


ALICE = {"email": "alice@example.com", "sub": "1234"}
ALICES_TOKEN = f"Bearer {token(ALICE)}"
BOBS_TOKEN = f"Bearer {token({'email': 'bob@example.com'})}"


def test_nothing_presented_is_anonymous() -> None:
    assert caller() is ANONYMOUS


@pytest.mark.parametrize(
    ("trusted", "source"), [(True, CallerSource.CLOUD_RUN_IAM), (False, CallerSource.UNVERIFIED_TOKEN)]
)
def test_a_token_is_trusted_only_where_the_deployment_says_so(trusted: bool, source: CallerSource) -> None:
    assert caller(trusted=trusted, authorization=ALICES_TOKEN) == Caller("alice@example.com", source, "1234")


def test_the_token_that_cloud_run_checked_is_the_one_that_counts() -> None:
    found = caller(authorization=ALICES_TOKEN, x_serverless_authorization=BOBS_TOKEN)

    assert found.principal == "bob@example.com"


def test_an_unchecked_token_is_not_taken_where_cloud_run_looked_at_the_other() -> None:
    found = caller(authorization=ALICES_TOKEN, x_serverless_authorization="Bearer garbage")

    assert found is ANONYMOUS


@pytest.mark.parametrize("signature", ["", "SIGNATURE_REMOVED_BY_GOOGLE"])
def test_a_token_without_its_signature_is_read(signature: str) -> None:
    assert caller(authorization=f"bearer {token(ALICE, signature=signature)}").principal == "alice@example.com"


def test_a_subject_stands_in_for_an_email() -> None:
    assert caller(authorization=f"Bearer {token({'sub': '1234'})}").principal == "1234"
    assert caller(authorization=f"Bearer {token({'sub': '1234', 'email': 'not an address'})}").principal == "1234"


@pytest.mark.parametrize(
    ("claims", "subject"),
    [
        ({"email": "alice@example.com", "sub": "1234"}, "1234"),
        ({"sub": "1234"}, "1234"),
        ({"email": "alice@example.com"}, ""),
        ({"email": "alice@example.com", "sub": ""}, ""),
        ({"email": "alice@example.com", "sub": 1234}, ""),
        ({"email": "alice@example.com", "sub": "two\nlines"}, ""),
        ({"email": "alice@example.com", "sub": "x" * 321}, ""),
        ({"email": "alice@example.com", "sub": "accounts.google.com:1234"}, "1234"),
        ({"email": "alice@example.com", "sub": "accounts.google.com:"}, ""),
        ({"email": "alice@example.com", "sub": "securetoken.google.com/project:1234"},
         "securetoken.google.com/project:1234"),
    ],
)  # fmt: skip
def test_the_subject_is_that_of_the_token_where_it_has_a_usable_one(claims: dict[str, Any], subject: str) -> None:
    assert caller(authorization=f"Bearer {token(claims)}").subject == subject


def test_a_plain_header_has_no_subject() -> None:
    assert caller(x_goog_authenticated_user_email="accounts.google.com:alice@example.com").subject == ""


def test_a_plain_header_is_recorded_as_unverified() -> None:
    found = caller(x_goog_authenticated_user_email="accounts.google.com:alice@example.com")

    assert found == Caller("alice@example.com", CallerSource.UNVERIFIED_HEADER)


def test_a_token_outranks_a_plain_header() -> None:
    found = caller(authorization=ALICES_TOKEN, x_goog_authenticated_user_email="accounts.google.com:eve@example.com")

    assert found == Caller("alice@example.com", CallerSource.CLOUD_RUN_IAM, "1234")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer a.b",
        "Bearer a.b.c.d",
        "Bearer a.!!!.c",
        "Bearer a.é.c",
        f"Basic {token(ALICE)}",
        f"Bearer {token(b'')}",
        f"Bearer {token(b'not json')}",
        f"Bearer {token(b'[1]')}",
        f"Bearer {token(b'null')}",
        f"Bearer {token(bytes([255, 254, 253]))}",
        f"Bearer {token(b'[' * 9_000)}",
        f"Bearer {token({})}",
        f"Bearer {token({'email': None, 'sub': 7})}",
        f"Bearer {token({'email': ['a@b.c'], 'sub': {}})}",
        f"Bearer {token({'email': 'x' * 321})}",
        f"Bearer {token({'email': 'a@b.c', 'pad': 'x' * 16_384})}",
    ],
)
def test_a_malformed_token_is_dropped(authorization: str) -> None:
    assert caller(authorization=authorization) is ANONYMOUS


@pytest.mark.parametrize(
    "value", ["", ":", "accounts.google.com:", "a b", "a\nb", "a\x00b", "é@example.com", "<x>", "x" * 321, "a;b", '"']
)
def test_an_unusable_principal_is_dropped(value: str) -> None:
    assert caller(x_goog_authenticated_user_email=value) is ANONYMOUS


@pytest.mark.parametrize(
    "value",
    [
        "a@b.c",
        "1234",
        "x" * 320,
        "user+tag@example.com",
        "principal://a/b=c",
        "o'brien@corp.com",
        "!#$%&'*+-/=?^_`{|}~@a.b",
    ],
)
def test_an_ordinary_principal_is_usable(value: str) -> None:
    assert usable_principal(value) == value


@pytest.mark.parametrize("value", [None, 1, b"a@b.c", ["a"], {"a": 1}, True])
def test_what_is_no_text_is_no_principal(value: object) -> None:
    assert usable_principal(value) == ""


@given(
    st.dictionaries(
        st.sampled_from(["authorization", "x-serverless-authorization", "x-goog-authenticated-user-email"]),
        hostile_text | hostile_text.map(lambda text: f"Bearer {text}") | st.binary(max_size=60).map(token),
    )
)
def test_no_headers_are_an_error(headers: dict[str, str]) -> None:
    found = caller_from_headers(headers, trust_cloud_run_iam=True)

    assert found.principal == "" or usable_principal(found.principal)
    assert found.subject == "" or usable_principal(found.subject)
    assert (found.source is CallerSource.NONE) == (found.principal == "")

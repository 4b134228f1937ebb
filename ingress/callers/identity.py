"""The caller's identity from a request's headers. Malformed values are dropped, never an error.

Facts (cloud.google.com/run/docs/authenticating, cloud.google.com/iap/docs/signed-headers-howto):
- Cloud Run's IAM check looks at `X-Serverless-Authorization` alone where it is present, else at `Authorization`; it
  passes the token on with its signature removed, so a token cannot be verified again here.
- `x-goog-authenticated-user-email` is set by IAP. Where IAP is not in front, anyone who may call can write it.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from shared.events.event import ANONYMOUS, Caller, CallerSource

IAP_ASSERTION_HEADER: Final = "x-goog-iap-jwt-assertion"

MAX_PRINCIPAL_LENGTH: Final = 320
"""The longest e-mail address there can be (RFC 3696, erratum 1690): 64 + 1 + 255."""

MAX_TOKEN_LENGTH: Final = 16_384
"""Google's ID tokens have one to two thousand characters; what is longer is not worth decoding."""

GOOGLE_ACCOUNTS: Final = "accounts.google.com:"
"""The namespace of Google accounts in IAP's `sub`; other identity providers behind IAP have another."""

_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9.@:/!#$%&'*+=?^_`{|}~-]+")
"""Every character that an e-mail address may have without quotes (RFC 5322, dot-atom), and what subjects have; no
blank, no quotation mark and no control character, which could break a log line or an attribute."""


def caller_from_headers(headers: Mapping[str, str], *, trust_cloud_run_iam: bool) -> Caller:
    """The most trustworthy identity that the headers carry, apart from a signed assertion.

    With `trust_cloud_run_iam` Cloud Run has checked the token that is looked at.
    """
    token = _header(headers, "x-serverless-authorization") or _header(headers, "authorization")
    claims = _bearer_claims(token)
    source = CallerSource.CLOUD_RUN_IAM if trust_cloud_run_iam else CallerSource.UNVERIFIED_TOKEN
    caller = caller_from_claims(claims, source) if claims else None
    if caller:
        return caller
    # The value is `accounts.google.com:someone@example.com`.
    principal = usable_principal(_header(headers, "x-goog-authenticated-user-email").rpartition(":")[2])
    if principal:
        return Caller(principal, CallerSource.UNVERIFIED_HEADER)
    return ANONYMOUS


def _header(headers: Mapping[str, str], name: str) -> str:
    return headers[name] if name in headers else ""  # noqa: SIM401 - connectrpc's `get` raises and catches where it is absent


def usable_principal(value: object) -> str:
    """The value where it looks like an identity, else an empty string."""
    if isinstance(value, str) and len(value) <= MAX_PRINCIPAL_LENGTH and _PRINCIPAL.fullmatch(value):
        return value
    return ""


def caller_from_claims(claims: Mapping[str, Any], source: CallerSource) -> Caller | None:
    """The identity that a token's claims name; None where they name none that is usable."""
    subject = usable_principal(claims.get("sub"))
    principal = usable_principal(claims.get("email")) or subject
    # IAP writes `accounts.google.com:1234` where a Google ID token has `1234`: one identity has one scope of keys.
    return Caller(principal, source, subject.removeprefix(GOOGLE_ACCOUNTS)) if principal else None


def _bearer_claims(authorization: str) -> dict[str, Any]:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or len(token) > MAX_TOKEN_LENGTH:
        return {}
    return _claims(token.strip())


def _claims(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified; empty where it is none."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}

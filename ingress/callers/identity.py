"""The caller's identity from a request's headers. Malformed values are ignored, never an error.

Facts (cloud.google.com/run/docs/authenticating, cloud.google.com/iap/docs/signed-headers-howto):
- Cloud Run's IAM check reads `X-Serverless-Authorization` if present, else `Authorization`. It passes the token on
  without its signature, so the token cannot be verified again here.
- `x-goog-authenticated-user-email` is set by IAP. Without IAP in front, any caller can write it.
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
"""The longest possible e-mail address (RFC 3696, erratum 1690): 64 + 1 + 255."""

MAX_TOKEN_LENGTH: Final = 16_384
"""Longer tokens are ignored. Google's ID tokens have one to two thousand characters."""

GOOGLE_ACCOUNTS: Final = "accounts.google.com:"
"""The namespace of Google accounts in IAP's `sub`; other identity providers behind IAP have another."""

_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9.@:/!#$%&'*+=?^_`{|}~-]+")
"""The characters of an unquoted e-mail address (RFC 5322, dot-atom) and of subjects. No space, quotation mark or
control character, which could break a log line or an attribute."""


def caller_from_headers(headers: Mapping[str, str], *, trust_cloud_run_iam: bool) -> Caller:
    """The most trustworthy identity in the headers, apart from a signed assertion: a bearer token, else IAP's header.

    `trust_cloud_run_iam` says that Cloud Run's IAM check has verified the token.
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
    return headers[name] if name in headers else ""  # noqa: SIM401 - connectrpc's `get` raises and catches if absent


def usable_principal(value: object) -> str:
    """The value if it looks like an identity, else an empty string."""
    if isinstance(value, str) and len(value) <= MAX_PRINCIPAL_LENGTH and _PRINCIPAL.fullmatch(value):
        return value
    return ""


def caller_from_claims(claims: Mapping[str, Any], source: CallerSource) -> Caller | None:
    """The identity in a token's claims: e-mail address or subject; None if they have no usable one."""
    subject = usable_principal(claims.get("sub"))
    principal = usable_principal(claims.get("email")) or subject
    # IAP writes `accounts.google.com:1234` for the `1234` of a Google ID token: one identity must have one key scope.
    return Caller(principal, source, subject.removeprefix(GOOGLE_ACCOUNTS)) if principal else None


def _bearer_claims(authorization: str) -> dict[str, Any]:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or len(token) > MAX_TOKEN_LENGTH:
        return {}
    return _claims(token.strip())


def _claims(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified; empty if it is malformed."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}

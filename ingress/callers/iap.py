"""Verification of IAP's signed assertion (cloud.google.com/iap/docs/signed-headers-howto).

The public keys are fetched in a worker thread: on first use, and when an assertion names an unknown key id, but not
more often than the constants below allow.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
import requests
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError

from ingress.callers.identity import MAX_TOKEN_LENGTH, caller_from_claims
from shared.clock import Clock
from shared.errors import UncheckedCallerError
from shared.events.event import Caller, CallerSource
from shared.process.logs import get_logger

KEYS_URL: Final = "https://www.gstatic.com/iap/verify/public_key"
"""IAP's public keys as PEM by key id."""

ISSUER: Final = "https://cloud.google.com/iap"

REFRESH_SECONDS: Final = 300.0
"""The least time between two fetches, so that assertions with made-up key ids do not cause one at every call."""

RETRY_SECONDS: Final = 15.0
"""The least time after a failed fetch. Shorter, since until one succeeds, calls with an idempotency key and an unknown
key id are refused."""

FETCH_TIMEOUT_SECONDS: Final = 3.0
"""The bound on connecting, and on each read."""

CLOCK_SKEW_SECONDS: Final = 30
"""The tolerance that Google's documentation asks for."""

_log = get_logger()

KeySource = Callable[[], Mapping[str, str]]


class IapVerifier:
    """Verifies assertions for one audience. Concurrent calls share a fetch of the keys."""

    def __init__(self, *, audience: str, clock: Clock, fetch_keys: KeySource | None = None) -> None:
        self._audience = audience
        self._clock = clock
        self._fetch_keys = fetch_keys or partial(_fetch_keys, KEYS_URL)
        self._keys: Mapping[str, str] = {}
        self._fetched_at: float | None = None
        """When the last fetch succeeded, on the monotonic clock."""
        self._fetch_at: float | None = None
        """The earliest time of the next fetch; None before the first one."""
        self._fetching = anyio.Lock()

    async def verify(self, assertion: str) -> Caller | None:
        """The caller of a valid assertion; None for an invalid one. May wait for a fetch of the keys.

        Raises:
            UncheckedCallerError: the assertion names an unknown key, and the keys cannot be fetched now.
        """
        if len(assertion) > MAX_TOKEN_LENGTH:
            return None
        try:
            key_id = jwt.decode_header(assertion).get("kid")
            if not isinstance(key_id, str):
                return None
            if key_id not in self._keys and not await self._refreshed_keys() and key_id not in self._keys:
                raise UncheckedCallerError
            # `decode` checks signature, expiry and audience; the key's type fixes the algorithm (ES256).
            claims = jwt.decode(
                assertion, certs=self._keys, audience=self._audience, clock_skew_in_seconds=CLOCK_SKEW_SECONDS
            )
        except (ValueError, TypeError, GoogleAuthError):  # TypeError: the library does not expect a claim's type
            return None
        if claims.get("iss") != ISSUER:
            return None
        return caller_from_claims(claims, CallerSource.IAP_ASSERTION)

    async def _refreshed_keys(self) -> bool:
        """Fetch the keys if that is allowed now. Whether the known keys were fetched after this call began."""
        asked_at = self._clock.monotonic()
        async with self._fetching:
            if self._fetched_at is not None and self._fetched_at >= asked_at:
                return True  # another call has fetched them while this one waited for the lock
            now = self._clock.monotonic()
            if self._fetch_at is not None and now < self._fetch_at:
                return False
            try:
                self._keys = await anyio.to_thread.run_sync(self._fetch_keys)
            except (requests.RequestException, ValueError) as error:
                _log.warning("iap_keys_unavailable", error=type(error).__name__)
                self._fetch_at = self._clock.monotonic() + RETRY_SECONDS
                return False
            self._fetched_at = self._clock.monotonic()
            self._fetch_at = self._fetched_at + REFRESH_SECONDS
            return True


def _fetch_keys(url: str) -> Mapping[str, str]:
    response = requests.get(url, timeout=FETCH_TIMEOUT_SECONDS)
    response.raise_for_status()
    keys: Mapping[str, str] = response.json()
    return keys

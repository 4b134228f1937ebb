"""Verification of IAP's signed assertion (cloud.google.com/iap/docs/signed-headers-howto).

The keys are fetched when first needed and when a new key id appears, at most once in a while, in a thread.
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
"""The least time between two fetches: an assertion with a made-up key id must not make us fetch at every call."""

RETRY_SECONDS: Final = 15.0
"""As above after a fetch that failed: until one succeeds, calls with an idempotency key are refused."""

FETCH_TIMEOUT_SECONDS: Final = 3.0

CLOCK_SKEW_SECONDS: Final = 30
"""The tolerance that Google's documentation asks for."""

_log = get_logger()

KeySource = Callable[[], Mapping[str, str]]


class IapVerifier:
    """Verifies assertions for one audience."""

    def __init__(self, *, audience: str, clock: Clock, fetch_keys: KeySource | None = None) -> None:
        self._audience = audience
        self._clock = clock
        self._fetch_keys = fetch_keys or partial(_fetch_keys, KEYS_URL)
        self._keys: Mapping[str, str] = {}
        self._fetched_at: float | None = None
        self._fetch_at: float | None = None
        """Not earlier; None before the first one."""
        self._fetching = anyio.Lock()

    async def verify(self, assertion: str) -> Caller | None:
        """The caller of a valid assertion; None for any other, whatever is wrong with it.

        Raises:
            UncheckedCallerError: the key that it names is not among those that are known, and whether it exists cannot
                be asked now.
        """
        if len(assertion) > MAX_TOKEN_LENGTH:
            return None
        try:
            key_id = jwt.decode_header(assertion).get("kid")
            if not isinstance(key_id, str):
                return None
            if key_id not in self._keys and not await self._refreshed_keys() and key_id not in self._keys:
                raise UncheckedCallerError
            # `decode` checks signature, expiry and audience; the algorithm is fixed by the key's kind (ES256).
            claims = jwt.decode(
                assertion, certs=self._keys, audience=self._audience, clock_skew_in_seconds=CLOCK_SKEW_SECONDS
            )
        except (ValueError, TypeError, GoogleAuthError):  # TypeError: a claim of a type that the library trips over
            return None
        if claims.get("iss") != ISSUER:
            return None
        return caller_from_claims(claims, CallerSource.IAP_ASSERTION)

    async def _refreshed_keys(self) -> bool:
        """Whether the keys that are known now are all that there are."""
        asked_at = self._clock.monotonic()
        async with self._fetching:
            if self._fetched_at is not None and self._fetched_at >= asked_at:
                return True  # by another call, which this one waited for
            now = self._clock.monotonic()
            if self._fetch_at is not None and now < self._fetch_at:
                return False
            try:
                self._keys = await anyio.to_thread.run_sync(self._fetch_keys)
            except (requests.RequestException, ValueError) as error:
                # The record of a caller is not worth a refused event: the next source is used meanwhile.
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

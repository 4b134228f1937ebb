"""A client of Event Logging behind Cloud Run's IAM, to import or to copy together with the generated code.

    async with EventLog("https://event-log-ingress-....run.app") as events:
        event_id = await events.log("order_paid", metadata={"value": 12.5, "currency": "EUR"}, actor_id="user-17")

One call of `log` logs one event, however often it is sent: all attempts carry one idempotency key. If your own code may
call `log` again for the same thing, after a crash for instance, pass a key that names that thing.

Needs: connectrpc, protobuf-py, google-auth, requests.
"""

import asyncio
import base64
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import google.auth.transport.requests
import google.oauth2.id_token
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.interceptor import Interceptor
from protobuf.wkt import Struct, Timestamp

from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from shared.gen.google.rpc.error_details_pb import RetryInfo

ATTEMPT_SECONDS: Final = 8.0
"""For one attempt. By default the service answers within 6 s, whatever is down."""

PATIENCE_SECONDS: Final = 30.0
"""For all attempts together."""

FIRST_BACKOFF_SECONDS: Final = 0.2
"""Before the second attempt; it doubles with each attempt."""

LONGEST_BACKOFF_SECONDS: Final = 5.0

REFRESH_SECONDS: Final = 300.0
"""How long before its expiry a token is replaced; Google's are valid for an hour."""

_RETRIED: Final = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})
"""It is unknown whether the event was written; its key makes a retry safe."""

TokenSource = Callable[[], Awaitable[str]]


class EventLog:
    """Logs events. Create one per process, and use it from one event loop."""

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource | None = None,
        interceptors: Iterable[Interceptor] = (),
        attempt_seconds: float = ATTEMPT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """`url` is the service's address and the audience of its ID tokens.

        `token` returns a valid ID token; the default asks Google for one of the process's own account.
        `interceptors` see each attempt: connectrpc-otel's makes it a span of your trace, which the service continues.
        """
        self._token = token or IdToken(url)
        self._client = EventLoggingServiceClient(url, interceptors=interceptors)
        self._attempt_seconds = attempt_seconds
        self._patience_seconds = patience_seconds

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def log(
        self,
        event_name: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        event_type: str = "",
        actor_id: str = "",
        event_ts: datetime | None = None,
        forward_to_statsig: bool | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Log one event; returns its event_id once it is committed. `event_ts` is aware.

        Raises:
            ConnectError: at once if a retry cannot help (`invalid_argument` and others); `unavailable`,
                `deadline_exceeded` or `resource_exhausted` once `patience_seconds` are used up. After `unavailable` and
                `deadline_exceeded` the event may have been written: call again with the same key, or leave it.
            google.auth.exceptions.GoogleAuthError: the default `token` got none from Google.
        """
        request = LogEventRequest(
            event_name=event_name,
            event_type=event_type,
            actor_id=actor_id,
            event_ts=None if event_ts is None else Timestamp.from_datetime(event_ts),
            metadata=None if metadata is None else Struct.from_python(dict(metadata)),
            forward_to_statsig=forward_to_statsig,
            idempotency_key=idempotency_key or str(uuid.uuid4()),
        )
        end = time.monotonic() + self._patience_seconds
        attempt = 0
        while True:
            left = end - time.monotonic()
            try:
                return await self._attempt(request, min(left, self._attempt_seconds))
            except ConnectError as error:
                wait = seconds_before_retry(error, attempt)
                if wait is None or time.monotonic() + wait >= end:
                    raise
            attempt += 1
            await asyncio.sleep(wait)

    async def _attempt(self, request: LogEventRequest, seconds: float) -> str:
        headers = {"authorization": f"Bearer {await self._token()}"}
        answer = await self._client.log_event(request, headers=headers, timeout_ms=max(1, int(seconds * 1000)))
        return answer.event_id


def seconds_before_retry(error: ConnectError, attempt: int) -> float | None:
    """How long to wait after attempt number `attempt`, counted from 0; None if a retry cannot help.

    The server's RetryInfo is the minimum; jitter on top keeps callers that failed together from retrying together.
    """
    asked = _retry_info_seconds(error)
    # resource_exhausted has RetryInfo if too much is in flight, and none if the request is too large.
    if error.code not in _RETRIED and not (error.code is Code.RESOURCE_EXHAUSTED and asked is not None):
        return None
    backoff = min(FIRST_BACKOFF_SECONDS * 2.0**attempt, LONGEST_BACKOFF_SECONDS)
    return (asked or 0.0) + random.uniform(0.5, 1.0) * backoff  # noqa: S311 - jitter


def _retry_info_seconds(error: ConnectError) -> float | None:
    for detail in error.details:
        if detail.type_name == "google.rpc.RetryInfo":
            delay = RetryInfo.from_binary(detail.message_bytes).retry_delay
            return float(delay.seconds + delay.nanos / 1e9) if delay else 0.0
    return None


class IdToken:
    """A source of ID tokens for one audience; keeps each token until shortly before it expires."""

    def __init__(
        self, audience: str, *, fetch: Callable[[str], str] | None = None, now: Callable[[], float] = time.time
    ) -> None:
        """`fetch` takes the audience and returns a token; it may block, and runs in a thread."""
        self._audience = audience
        self._fetch = fetch or _fetch_from_google
        self._now = now
        self._token = ""
        self._good_until = 0.0
        self._fetching = asyncio.Lock()

    async def __call__(self) -> str:
        """A token, fetched anew if the last one expires within `REFRESH_SECONDS`.

        Raises:
            google.auth.exceptions.GoogleAuthError: Google issued none.
        """
        async with self._fetching:
            if self._now() >= self._good_until:
                token = await asyncio.to_thread(self._fetch, self._audience)
                self._token, self._good_until = token, _expiry(token) - REFRESH_SECONDS
            return self._token


def _fetch_from_google(audience: str) -> str:
    # From the metadata server on Google Cloud, by GOOGLE_APPLICATION_CREDENTIALS elsewhere.
    token: str = google.oauth2.id_token.fetch_id_token(google.auth.transport.requests.Request(), audience)
    return token


def _expiry(token: str) -> float:
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return float(claims["exp"])

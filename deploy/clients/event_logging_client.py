"""A client of Event Logging behind Cloud Run's IAM, to import or to copy together with the generated code.

    async with EventLog("https://event-log-ingress-....run.app") as events:
        event_id = await events.log("order_paid", metadata={"value": 12.5, "currency": "EUR"}, actor_id="user-17")

One call of `log` is one event, however often it had to be sent: all its attempts carry one idempotency key. Where your
own code may call `log` again for the same thing, after a crash for instance, give a key that says what the thing is.

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
"""Of one attempt. The service answers within 6 s, whatever is down."""

PATIENCE_SECONDS: Final = 30.0
"""Of all attempts together."""

FIRST_BACKOFF_SECONDS: Final = 0.2
LONGEST_BACKOFF_SECONDS: Final = 5.0

REFRESH_SECONDS: Final = 300.0
"""How long before its expiry a token is replaced; Google's live for an hour."""

_RETRIED: Final = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})
"""Whether the event was written is not known, and its key makes it safe to ask again."""

TokenSource = Callable[[], Awaitable[str]]


class EventLog:
    """Logs events. One for each process; use it from one event loop."""

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource | None = None,
        interceptors: Iterable[Interceptor] = (),
        attempt_seconds: float = ATTEMPT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """`url` is the service's own, which is also the audience of its ID tokens.

        `token` gives a valid ID token at any time; the default asks Google, as whoever the process runs.
        `interceptors` see each attempt: connectrpc-otel's makes it a span of your trace, and the event continues that.
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
        """The event_id, once the event is committed. `event_ts` is aware.

        Raises:
            ConnectError: `invalid_argument` and whatever else waiting does not help, at once; `unavailable`,
                `deadline_exceeded` or `resource_exhausted` when all patience is gone. After the first two the event may
                have been written: call again with the same key, or leave it.
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
    """How long to wait before attempt number `attempt` + 1, counted from 0; None where none would help.

    The server's RetryInfo is the least; jitter on top keeps callers that failed together from coming back together.
    """
    asked = _retry_info_seconds(error)
    # Too much in flight comes with RetryInfo. Too large a request comes without, and stays too large.
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
    """ID tokens of one audience, each kept until shortly before it expires."""

    def __init__(
        self, audience: str, *, fetch: Callable[[str], str] | None = None, now: Callable[[], float] = time.time
    ) -> None:
        """`fetch` gets the audience, blocks, and returns a token."""
        self._audience = audience
        self._fetch = fetch or _fetch_from_google
        self._now = now
        self._token = ""
        self._good_until = 0.0
        self._fetching = asyncio.Lock()

    async def __call__(self) -> str:
        """A token that is good for some minutes more.

        Raises:
            google.auth.exceptions.GoogleAuthError: there is none to be had.
        """
        async with self._fetching:
            if self._now() >= self._good_until:
                token = await asyncio.to_thread(self._fetch, self._audience)
                self._token, self._good_until = token, _expiry(token) - REFRESH_SECONDS
            return self._token


def _fetch_from_google(audience: str) -> str:
    # Of the metadata server on Google Cloud, of GOOGLE_APPLICATION_CREDENTIALS elsewhere.
    token: str = google.oauth2.id_token.fetch_id_token(google.auth.transport.requests.Request(), audience)
    return token


def _expiry(token: str) -> float:
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return float(claims["exp"])

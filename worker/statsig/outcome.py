"""Classifies Statsig's answer to a request from the arguments of the SDK's callback.

Written for statsig 0.72.1 over requests 2.34 and urllib3 2.8; `tests/contract/test_statsig_sdk.py` makes each of these
failures on real sockets. The SDK hides the status of a 2xx or 304 whose body is not JSON (status None).
"""

import math
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import requests
import urllib3.exceptions


class SendVerdict(StrEnum):
    """What an answer proves. Only AMBIGUOUS leaves open whether Statsig has the event."""

    CONFIRMED = "confirmed"
    """Statsig has the event."""

    TRANSIENT = "transient"
    """Statsig does not have the event: no connection was established, or it accepts no more at the moment (429)."""

    REJECTED = "rejected"
    """Statsig does not have the event, because of the request's payload (400, 413, 422)."""

    REFUSED = "refused"
    """Statsig does not have the event: wrong key or address, or answered so to one event (401, 403, 404, 405, a
    redirect)."""

    AMBIGUOUS = "ambiguous"
    """Everything else: a proxy can answer 408 or any 5xx after Statsig has stored the events. Each one is counted as a
    possible duplicate."""


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """The outcome of one attempt for one event."""

    verdict: SendVerdict
    status: int | None
    """The HTTP status, if an answer came and the SDK shows it."""

    reason: str
    """A stable word for logs, metrics and the ledger, never the text of a foreign exception."""

    retry_after_seconds: float | None = None
    """Unbounded, as in the answer; callers must cap it."""

    answer: str | None = None
    """The body of a refusal as one line of at most MAX_ANSWER characters. Not for logs: it may quote the event."""


MAX_ANSWER: Final = 200
"""Characters: enough for a sentence, and fifty answers in a ledger row are 10 KB."""


class SuccessFalseError(requests.RequestException):
    """A 2xx whose body has `"success": false`. Raised by the replaced session: the SDK goes by the status alone.

    Statsig documents that body only for a 503, so the meaning of a 2xx with it is unknown.
    """


TIMED_OUT: Final = SendOutcome(SendVerdict.AMBIGUOUS, None, "timeout")
NO_OUTCOME: Final = SendOutcome(SendVerdict.AMBIGUOUS, None, "no_outcome")
NOT_SERIALIZABLE: Final = SendOutcome(SendVerdict.REJECTED, None, "not_serializable")

_PAYLOAD_STATUSES: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
_SETTINGS_STATUSES: Final = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
)

_REFUSALS: Final = (SendVerdict.REJECTED, SendVerdict.REFUSED)

# requests refuses to send at all: only an address or a key from the settings can be the cause.
_UNUSABLE_SETTINGS: Final = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)

_BY_REQUESTS_ERROR: Final[tuple[tuple[tuple[type[requests.RequestException], ...], SendVerdict, str], ...]] = (
    ((SuccessFalseError,), SendVerdict.AMBIGUOUS, "success_false"),
    # Redirects are not followed: the POST would become a GET without a body, and the key would go to another host.
    ((requests.TooManyRedirects,), SendVerdict.REFUSED, "redirect"),
    (_UNUSABLE_SETTINGS, SendVerdict.REFUSED, "unusable_settings"),
)

# The first type found anywhere in the chain decides. TRANSIENT stands only where no connection was established, so that
# nothing can have reached Statsig.
_BY_CAUSE: Final[tuple[tuple[tuple[type[BaseException], ...], SendOutcome], ...]] = (
    ((urllib3.exceptions.NameResolutionError,), SendOutcome(SendVerdict.TRANSIENT, None, "dns")),
    ((ConnectionRefusedError,), SendOutcome(SendVerdict.TRANSIENT, None, "connection_refused")),
    ((urllib3.exceptions.NewConnectionError,), SendOutcome(SendVerdict.TRANSIENT, None, "unreachable")),
    ((requests.ConnectTimeout,), SendOutcome(SendVerdict.TRANSIENT, None, "connect_timeout")),
    # urllib3 raises it only before the tunnel through the proxy is established.
    ((requests.exceptions.ProxyError,), SendOutcome(SendVerdict.TRANSIENT, None, "proxy")),
    # An end of file inside TLS can occur in the handshake or after the body; the exception is the same.
    (
        (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError),
        SendOutcome(SendVerdict.AMBIGUOUS, None, "connection_reset"),
    ),
    # Of TLS failures only a refused certificate is certain to precede the request.
    ((ssl.SSLCertVerificationError,), SendOutcome(SendVerdict.TRANSIENT, None, "tls")),
    ((requests.exceptions.SSLError,), SendOutcome(SendVerdict.AMBIGUOUS, None, "tls")),
    ((requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError), TIMED_OUT),
    # A body that breaks off raises urllib3's own exception: the SDK reads it past requests.
    (
        (requests.ConnectionError, urllib3.exceptions.ProtocolError, OSError),
        SendOutcome(SendVerdict.AMBIGUOUS, None, "connection_reset"),
    ),
)


def classify(success: bool, status: int | None, error: Exception | None, now: float) -> SendOutcome:
    """Classify the arguments of `events_flushed_callback`. `now`, in Unix seconds, is for a Retry-After with a date."""
    if status is not None:
        verdict = _verdict_of_status(success, status)
        answer = _answer(error) if verdict in _REFUSALS else None
        return SendOutcome(verdict, status, f"http_{status}", _retry_after(error, now), answer)
    if error is None:
        return NO_OUTCOME
    for kinds, verdict, reason in _BY_REQUESTS_ERROR:
        if isinstance(error, kinds):
            return SendOutcome(verdict, _response_status(error), reason)
    if type(error) is Exception:
        # The SDK's own "Invalid payload or failed to encode payload", made before any request.
        return NOT_SERIALIZABLE
    return _outcome_of_cause(error)


def _verdict_of_status(success: bool, status: int) -> SendVerdict:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return SendVerdict.CONFIRMED if success else SendVerdict.AMBIGUOUS
    if status in _PAYLOAD_STATUSES:
        return SendVerdict.REJECTED
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return SendVerdict.TRANSIENT
    if status in _SETTINGS_STATUSES or HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return SendVerdict.REFUSED  # the SDK calls a 300 a success
    return SendVerdict.AMBIGUOUS


def _outcome_of_cause(error: Exception) -> SendOutcome:
    chain = tuple(_chain(error))
    for kinds, outcome in _BY_CAUSE:
        if any(isinstance(link, kinds) for link in chain):
            return outcome
    if type(error).__module__.partition(".")[0] == "ijson":
        # The SDK parses a 2xx with ijson: an empty, truncated, text or HTML body ends here, and its status is lost.
        return SendOutcome(SendVerdict.AMBIGUOUS, None, "unreadable_answer")
    return SendOutcome(SendVerdict.AMBIGUOUS, None, "unexpected_error")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes: requests keeps urllib3's exception in `args`, urllib3 keeps its own in `reason`."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        link = pending.pop()
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        pending += [*link.args, getattr(link, "reason", None), link.__cause__, link.__context__]


def _answer(error: Exception | None) -> str | None:
    """The refusal's body, which the replaced session has read, as one line of text; None if it is empty."""
    if not isinstance(error, requests.RequestException) or error.response is None:
        return None
    text = " ".join((error.response.content or b"").decode(errors="replace").split())
    return (
        "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)[
            :MAX_ANSWER
        ]
        or None
    )


def _response_status(error: requests.RequestException) -> int | None:
    # `if error.response` would be wrong: a Response of status 400 or more is falsy.
    return None if error.response is None else error.response.status_code


def _retry_after(error: Exception | None, now: float) -> float | None:
    """Retry-After in either form of RFC 9110, seconds or a date; never negative, None if it is neither."""
    if not isinstance(error, requests.RequestException) or error.response is None:
        return None
    text = error.response.headers.get("Retry-After", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None

"""Which outcome each of the SDK's answers and errors becomes."""

import socket
import ssl
from datetime import UTC, datetime

import pytest
import requests
import urllib3.exceptions
from urllib3 import HTTPSConnectionPool

from worker.statsig.outcome import SendOutcome, SendVerdict, classify

NOW = datetime(2026, 10, 21, 7, 0, 0, tzinfo=UTC).timestamp()


def http_error(status: int, **headers: str) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return requests.HTTPError("secret text", response=response)


def judge(error: Exception | None) -> SendOutcome:
    return classify(success=False, status=None, error=error, now=NOW)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_success_with_a_2xx_is_confirmed(status: int) -> None:
    outcome = classify(success=True, status=status, error=None, now=NOW)

    assert outcome == SendOutcome(SendVerdict.CONFIRMED, status, f"http_{status}")


@pytest.mark.parametrize("status", [300, 301, 302, 304, 399])
def test_what_the_sdk_calls_a_success_without_a_2xx_is_not_confirmed(status: int) -> None:
    assert classify(success=True, status=status, error=None, now=NOW).verdict is SendVerdict.REFUSED


@pytest.mark.parametrize(
    ("verdict", "statuses"),
    [
        (SendVerdict.REJECTED, [400, 413, 422]),
        (SendVerdict.REFUSED, [401, 403, 404, 405]),
        (SendVerdict.TRANSIENT, [429]),
        (SendVerdict.AMBIGUOUS, [408, 500, 501, 502, 503, 504, 522, 599]),
        (SendVerdict.AMBIGUOUS, [402, 406, 409, 410, 418, 425, 451, 499]),
        (SendVerdict.AMBIGUOUS, [101, 202]),
    ],
)
def test_a_failure_is_judged_by_its_status(verdict: SendVerdict, statuses: list[int]) -> None:
    for status in statuses:
        outcome = classify(success=False, status=status, error=http_error(status), now=NOW)
        assert outcome == SendOutcome(verdict, status, f"http_{status}")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("1000000000", 1e9),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 1680.0),
        ("Wed, 21 Oct 2026 06:28:00 GMT", 0.0),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
        ("9" * 400, None),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    outcome = classify(success=False, status=429, error=http_error(429, retry_after=header), now=NOW)

    assert outcome.retry_after_seconds == seconds


def in_a_pool(reason: Exception) -> urllib3.exceptions.MaxRetryError:
    return urllib3.exceptions.MaxRetryError(HTTPSConnectionPool("statsig.invalid"), "/v1/log_event", reason)


@pytest.mark.parametrize(
    ("error", "verdict", "reason"),
    [
        (None, SendVerdict.AMBIGUOUS, "no_outcome"),
        (RuntimeError("secret text"), SendVerdict.AMBIGUOUS, "unexpected_error"),
        (
            Exception("Invalid payload or failed to encode payload"),
            SendVerdict.REJECTED,
            "not_serializable",
        ),
        (requests.exceptions.InvalidHeader("secret text"), SendVerdict.REFUSED, "unusable_settings"),
        (requests.TooManyRedirects("Exceeded 0 redirects."), SendVerdict.REFUSED, "redirect"),
        (requests.ConnectTimeout(), SendVerdict.TRANSIENT, "connect_timeout"),
        (requests.exceptions.ProxyError(), SendVerdict.TRANSIENT, "proxy"),
        (requests.ReadTimeout(), SendVerdict.AMBIGUOUS, "timeout"),
        (
            requests.ConnectionError(urllib3.exceptions.ProtocolError("aborted", TimeoutError())),
            SendVerdict.AMBIGUOUS,
            "timeout",  # while the body was being written
        ),
        (
            requests.exceptions.SSLError(in_a_pool(urllib3.exceptions.SSLError(ssl.SSLCertVerificationError()))),
            SendVerdict.TRANSIENT,
            "tls",
        ),
        (
            requests.exceptions.SSLError(in_a_pool(urllib3.exceptions.SSLError(ssl.SSLError("bad record mac")))),
            SendVerdict.AMBIGUOUS,  # it may come in the middle
            "tls",
        ),
        (
            requests.exceptions.SSLError(in_a_pool(urllib3.exceptions.SSLError(ssl.SSLEOFError(8, "EOF")))),
            SendVerdict.AMBIGUOUS,
            "connection_reset",
        ),
        (urllib3.exceptions.ProtocolError("broken", ConnectionResetError()), SendVerdict.AMBIGUOUS, "connection_reset"),
    ],
)
def test_trouble_without_a_status(error: Exception | None, verdict: SendVerdict, reason: str) -> None:
    assert judge(error) == SendOutcome(verdict, None, reason)


def test_a_name_that_does_not_resolve_was_certainly_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolvable(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unresolvable)
    with pytest.raises(requests.ConnectionError) as caught:
        requests.post("http://statsig.invalid/v1/log_event", timeout=1)

    assert judge(caught.value) == SendOutcome(SendVerdict.TRANSIENT, None, "dns")


def test_exceptions_that_refer_to_each_other_are_walked_once() -> None:
    error = requests.ConnectionError()
    error.__context__ = RuntimeError(error)

    assert judge(error).reason == "connection_reset"

"""What the pinned Statsig SDK does with every outcome of a request, on real sockets: statsig 0.72.1.

A new version of the SDK is taken only when all of this still holds: therefore one module, although a long one. Two
fixtures watch each of its tests: no host but 127.0.0.1 is looked up, and nothing is printed or logged.
"""

import asyncio
import gzip
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import anyio
import pytest
import statsig
import statsig.globals

from shared.clock import SystemClock
from shared.errors import SettingsError
from shared.events.statsig_projection import StatsigEvent
from tests.support.wire.scripted_http import (
    ACCEPTED,
    Act,
    ScriptedHttp,
    answer,
    drip,
    hang,
    hang_up,
    raw,
    reset,
    scripted_http,
)
from worker.statsig.client import StatsigClient
from worker.statsig.forwarder import SdkStatsigForwarder
from worker.statsig.outcome import MAX_ANSWER, SendOutcome, SendVerdict

SECRET = "secret-contract0123456789"  # noqa: S105 - nobody's
READ_TIMEOUT = 0.3
OK = SendOutcome(SendVerdict.CONFIRMED, 202, "http_202")


def event(event_id: str = "e-1", value: str | float | None = None) -> StatsigEvent:
    return StatsigEvent(event_id, "order_paid", value, {"event_id": event_id, "plan": "Größe"}, 1_700_000_000_123)


def new_lane(api_url: str, secret: str = SECRET) -> StatsigClient:
    return StatsigClient(
        secret=secret,
        api_url=api_url,
        principal="service:events",
        environment="development",
        timeout_seconds=READ_TIMEOUT,
        clock=SystemClock(),
    )


async def attempt(api_url: str, *events: StatsigEvent) -> dict[str, SendOutcome]:
    lane = new_lane(api_url)
    try:
        return await asyncio.to_thread(lane.send, events or [event()])
    finally:
        await asyncio.to_thread(lane.close)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedHttp]:
    async with scripted_http() as scripted:
        yield scripted


@pytest.fixture(autouse=True)
def only_loopback_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real, strangers = socket.getaddrinfo, []

    def guard(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "127.0.0.1":
            strangers.append(host)
            raise socket.gaierror(socket.EAI_NONAME, "not in this test")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", guard)
    yield
    assert strangers == []


@pytest.fixture(autouse=True)
def nothing_is_printed_and_no_secret_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> Iterator[None]:
    # The SDK mutes its logger where `unittest` is imported, which pytest does.
    monkeypatch.setattr(statsig.globals.logger.logger, "_disabled", False)
    caplog.set_level(logging.DEBUG)
    yield
    printed = capsys.readouterr()
    logged = [f"{record.name}: {record.getMessage()}" for record in caplog.get_records("call")]
    assert printed.out == ""
    assert SECRET.removeprefix("secret-") not in printed.err + "".join(logged)
    assert [line for line in logged if line.startswith("statsig")] == []


WORDS = ACCEPTED.decode()
"""What the scripted server says with any answer."""

OUTCOMES: dict[str, tuple[Act, SendOutcome]] = {
    "202": (answer(202), OK),
    "200": (answer(200), SendOutcome(SendVerdict.CONFIRMED, 200, "http_200")),
    "200-text": (answer(200, b"OK"), SendOutcome(SendVerdict.AMBIGUOUS, None, "unreadable_answer")),
    "200-html": (answer(200, b"<html>"), SendOutcome(SendVerdict.AMBIGUOUS, None, "unreadable_answer")),
    "202-truncated": (answer(202, ACCEPTED[:9]), SendOutcome(SendVerdict.AMBIGUOUS, None, "unreadable_answer")),
    "202-success-false": (
        answer(202, b'{"success": false}'),
        SendOutcome(SendVerdict.AMBIGUOUS, 202, "success_false"),
    ),
    "204": (answer(204, b""), SendOutcome(SendVerdict.AMBIGUOUS, None, "unreadable_answer")),
    "300": (answer(300), SendOutcome(SendVerdict.REFUSED, 300, "http_300")),
    "304": (answer(304, b""), SendOutcome(SendVerdict.AMBIGUOUS, None, "unreadable_answer")),
    "400": (answer(400), SendOutcome(SendVerdict.REJECTED, 400, "http_400", answer=WORDS)),
    "400-words": (
        answer(400, b"event\t7:\r\n  \xff name \x1b[31m" + b"x" * 300),
        SendOutcome(
            SendVerdict.REJECTED, 400, "http_400", answer=("event 7: \ufffd name \ufffd[31m" + "x" * 300)[:MAX_ANSWER]
        ),
    ),
    "400-silent": (answer(400, b""), SendOutcome(SendVerdict.REJECTED, 400, "http_400")),
    "400-cut-off": (
        raw(b"HTTP/1.1 400 No\r\ncontent-length: 16\r\n\r\n{", then=reset),
        SendOutcome(SendVerdict.REJECTED, 400, "http_400"),
    ),
    "400-endless": (
        raw(b"HTTP/1.1 400 No\r\ncontent-length: 99999999\r\n\r\n{", then=hang),
        SendOutcome(SendVerdict.REJECTED, 400, "http_400"),
    ),
    "400-late": (
        raw(b"HTTP/1.1 400 No\r\ncontent-length: 16\r\n\r\n{", then=hang),
        SendOutcome(SendVerdict.REJECTED, 400, "http_400"),
    ),
    "401": (answer(401), SendOutcome(SendVerdict.REFUSED, 401, "http_401", answer=WORDS)),
    "403": (answer(403), SendOutcome(SendVerdict.REFUSED, 403, "http_403", answer=WORDS)),
    "404": (answer(404), SendOutcome(SendVerdict.REFUSED, 404, "http_404", answer=WORDS)),
    "405": (answer(405), SendOutcome(SendVerdict.REFUSED, 405, "http_405", answer=WORDS)),
    "408": (answer(408), SendOutcome(SendVerdict.AMBIGUOUS, 408, "http_408")),
    "409": (answer(409), SendOutcome(SendVerdict.AMBIGUOUS, 409, "http_409")),
    "413": (answer(413), SendOutcome(SendVerdict.REJECTED, 413, "http_413", answer=WORDS)),
    "422": (answer(422), SendOutcome(SendVerdict.REJECTED, 422, "http_422", answer=WORDS)),
    "429": (answer(429, retry_after="7"), SendOutcome(SendVerdict.TRANSIENT, 429, "http_429", 7.0)),
    "500": (answer(500), SendOutcome(SendVerdict.AMBIGUOUS, 500, "http_500")),
    "501": (answer(501), SendOutcome(SendVerdict.AMBIGUOUS, 501, "http_501")),
    "503": (answer(503, b"", retry_after="2"), SendOutcome(SendVerdict.AMBIGUOUS, 503, "http_503", 2.0)),
    "reset": (reset, SendOutcome(SendVerdict.AMBIGUOUS, None, "connection_reset")),
    "hang-up": (hang_up, SendOutcome(SendVerdict.AMBIGUOUS, None, "connection_reset")),
    "reset-in-body": (
        raw(b"HTTP/1.1 202 A\r\ncontent-length: 16\r\n\r\n{", then=reset),
        SendOutcome(SendVerdict.AMBIGUOUS, None, "connection_reset"),
    ),
    "not-http": (raw(b"220 mail\r\n\r\n", then=hang_up), SendOutcome(SendVerdict.AMBIGUOUS, None, "connection_reset")),
    "hang": (hang, SendOutcome(SendVerdict.AMBIGUOUS, None, "timeout")),
}


@pytest.mark.parametrize("case", OUTCOMES)
async def test_the_outcome_of_an_answer(server: ScriptedHttp, case: str) -> None:
    act, expected = OUTCOMES[case]

    assert await attempt(server.script(case, act), event("a"), event("b")) == {"a": expected, "b": expected}

    assert [request.headers["statsig-event-count"] for request in server.received[case]] == ["2"]


async def test_no_failed_request_is_sent_again_behind_our_back(server: ScriptedHttp) -> None:
    # Left to itself the SDK sends some of these again after 1 s. The lanes stay open, so that it could.
    failures = {case: act for case, (act, outcome) in OUTCOMES.items() if outcome.verdict is not SendVerdict.CONFIRMED}
    lanes = [new_lane(server.script(case, act)) for case, act in failures.items()]
    await asyncio.gather(*(asyncio.to_thread(lane.send, [event()]) for lane in lanes))

    await asyncio.sleep(1.3)  # that nothing happens cannot be awaited

    assert {case: len(server.received[case]) for case in failures} == dict.fromkeys(failures, 1)
    for lane in lanes:
        await asyncio.to_thread(lane.close)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_never_confirmed(server: ScriptedHttp, status: int) -> None:
    redirect = answer(status, b"", location=server.api_url("elsewhere") + "/log_event")

    outcomes = await attempt(server.script("redirect", redirect))

    assert outcomes == {"e-1": SendOutcome(SendVerdict.REFUSED, status, "redirect")}
    assert server.received["elsewhere"] == []


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]

    outcomes = await attempt(f"http://127.0.0.1:{port}/v1")

    assert outcomes == {"e-1": SendOutcome(SendVerdict.TRANSIENT, None, "connection_refused")}


async def test_no_tls_where_tls_is_expected() -> None:
    async def speak_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await raw(b"220 no tls here\r\n", then=hang_up)(writer)

    async with await asyncio.start_server(speak_plainly, "127.0.0.1", 0) as plain:
        outcomes = await attempt(f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/v1")

    assert outcomes == {"e-1": SendOutcome(SendVerdict.AMBIGUOUS, None, "tls")}


async def test_a_reset_before_the_body_is_read_is_ambiguous_all_the_same(server: ScriptedHttp) -> None:
    server.resets_before_body.add("early")

    outcomes = await attempt(server.api_url("early"))

    assert outcomes == {"e-1": SendOutcome(SendVerdict.AMBIGUOUS, None, "connection_reset")}


async def test_an_address_or_key_that_cannot_be_used(server: ScriptedHttp) -> None:
    assert await attempt("http://[half/v1") == {"e-1": SendOutcome(SendVerdict.REFUSED, None, "unusable_settings")}
    with pytest.raises(SettingsError):
        new_lane(server.api_url("x"), secret="client-key")


async def test_what_arrives(server: ScriptedHttp) -> None:
    lane = new_lane(server.api_url("what"))
    first = await asyncio.to_thread(lane.send, [event("a", 12.5), event("a", 12.5), event("b", "x"), event("none")])
    second = await asyncio.to_thread(lane.send, [event("c")])
    await asyncio.to_thread(lane.close)

    assert first | second == {"a": OK, "b": OK, "none": OK, "c": OK}
    request, later = server.received["what"]
    assert request.peer == later.peer  # the connection is kept
    assert (request.method, request.path) == ("POST", "/what/v1/log_event")
    assert request.headers["statsig-api-key"] == SECRET
    user = {"userID": "service:events", "statsigEnvironment": {"tier": "development"}}
    common = {"user": user, "eventName": "order_paid", "time": 1_700_000_000_123}
    assert request.json()["events"] == [
        common | {"value": 12.5, "metadata": {"event_id": "a", "plan": "Größe"}},
        common | {"value": "x", "metadata": {"event_id": "b", "plan": "Größe"}},
        common | {"metadata": {"event_id": "none", "plan": "Größe"}},
    ]
    assert later.json()["events"] == [common | {"metadata": {"event_id": "c", "plan": "Größe"}}]


async def test_a_request_is_written_by_the_quicker_means(server: ScriptedHttp) -> None:
    await attempt(server.api_url("quick"))

    (request,) = server.received["quick"]
    assert "Größe".encode() in gzip.decompress(request.body)  # the standard library would have escaped it
    assert request.body[8] == 4  # RFC 1952: by the fastest algorithm


@pytest.mark.parametrize("value", [2**70, "\ud800"], ids=["an integer of more than 64 bits", "half a surrogate pair"])
async def test_what_only_the_standard_library_can_write_arrives_too(server: ScriptedHttp, value: str | float) -> None:
    assert await attempt(server.api_url("rare"), event("a"), event("rare", value)) == {"a": OK, "rare": OK}

    (request,) = server.received["rare"]
    assert [each.get("value") for each in request.json()["events"]] == [None, value]


async def test_an_event_without_a_json_form_is_rejected_alone(server: ScriptedHttp) -> None:
    outcomes = await attempt(server.api_url("nan"), event("a"), event("bad", float("nan")), event("b"))

    assert outcomes == {"a": OK, "bad": SendOutcome(SendVerdict.REJECTED, None, "not_serializable"), "b": OK}


@pytest.mark.parametrize("act", [answer(202), answer(503)], ids=["confirmed", "failed"])
async def test_a_batch_cut_by_the_sdks_timer_is_answered_whole(
    server: ScriptedHttp, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    # 60 s and 1 s in production; the timer then fires while events are being logged.
    monkeypatch.setattr(statsig.globals, "STATSIG_BATCHING_INTERVAL_SECONDS", 0.002)
    monkeypatch.setattr(statsig.globals, "STATSIG_LOGGING_INTERVAL_SECONDS", 0.01)
    events = [event(f"e-{number}") for number in range(20_000)]

    outcomes = await attempt(server.script("cut", *[act] * 1_000), *events)

    assert len(server.received["cut"]) > 1
    assert outcomes.keys() == {each.event_id for each in events}
    assert {outcome.verdict for outcome in outcomes.values()} <= {SendVerdict.CONFIRMED, SendVerdict.AMBIGUOUS}
    sent = [each["metadata"]["event_id"] for request in server.received["cut"] for each in request.json()["events"]]
    assert sorted(sent) == sorted(outcomes)


async def test_an_answer_that_drips_is_given_up_and_its_lane_replaced(server: ScriptedHttp) -> None:
    made: list[StatsigClient] = []

    def make() -> StatsigClient:
        made.append(new_lane(api_url))
        return made[-1]

    api_url = server.script("drip", drip(0.05))
    async with SdkStatsigForwarder(make, max_clients=1, send_timeout_seconds=0.2) as forwarder:
        started = time.monotonic()
        assert await forwarder.send([event()]) == {"e-1": SendOutcome(SendVerdict.AMBIGUOUS, None, "timeout")}
        assert time.monotonic() - started < 0.5
        assert await forwarder.send([event("a")]) == {"a": OK}
        assert await forwarder.send([event("b")]) == {"b": OK}
        assert len(made) == 2
    await until(lambda: not sdk_threads())


async def test_a_cancelled_send_replaces_its_lane_too(server: ScriptedHttp) -> None:
    api_url = server.script("cancelled", hang)
    async with SdkStatsigForwarder(partial(new_lane, api_url), max_clients=1, send_timeout_seconds=5) as forwarder:
        with anyio.move_on_after(0.05) as scope:
            await forwarder.send([event()])
        assert scope.cancelled_caught
        assert await forwarder.send([event("a")]) == {"a": OK}
    await until(lambda: not sdk_threads())


async def test_as_many_requests_are_in_flight_as_there_are_lanes(server: ScriptedHttp) -> None:
    api_url = server.script("lanes", drip(0.01), drip(0.01), drip(0.01))
    async with SdkStatsigForwarder(partial(new_lane, api_url), max_clients=2, send_timeout_seconds=5) as forwarder:
        async with anyio.create_task_group() as sends:
            for number in range(3):
                sends.start_soon(forwarder.send, [event(f"e-{number}")])
            await until(lambda: len(server.received["lanes"]) == 2)
        assert len(server.received["lanes"]) == 3
        assert await forwarder.send([]) == {}
    await until(lambda: not sdk_threads())


_THREADS_BEFORE: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def threads_before() -> None:
    """Those of earlier tests in this process: the emulators' event loop, gRPC's."""
    _THREADS_BEFORE.clear()
    _THREADS_BEFORE.update(threading.enumerate())


def sdk_threads() -> list[str]:
    """Every thread that the SDK or the forwarder may have started: all that are new, but asyncio's."""
    return [
        thread.name
        for thread in threading.enumerate()
        if thread not in _THREADS_BEFORE and not thread.name.startswith("asyncio_")
    ]


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(3):
        while not condition():
            await asyncio.sleep(0.01)

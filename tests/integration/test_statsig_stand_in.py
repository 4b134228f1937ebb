"""The stand-in for Statsig over real sockets: what it keeps, what it answers, how it misbehaves on command."""

import asyncio
import gzip
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import requests

from deploy.local.statsig_stand_in import StandIn, read_log, running_stand_in

LIMIT = 16 * 1024 * 1024


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[StandIn]:
    async with running_stand_in(tmp_path / "events.jsonl") as running:
        yield running


def event(event_id: str, name: str = "order_paid") -> dict[str, Any]:
    return {
        "user": {"userID": "service:events"},
        "eventName": name,
        "metadata": {"event_id": event_id, "note": "Grüße 你"},
        "time": 1_700_000_000_123,
    }


async def http(method: str, url: str, **arguments: Any) -> requests.Response:
    arguments.setdefault("timeout", 10)
    return await asyncio.to_thread(requests.request, method, url, **arguments)


async def send(stand_in: StandIn, *events: dict[str, Any], **arguments: Any) -> requests.Response:
    return await http("POST", f"{stand_in.api_url}/log_event", json={"events": events}, **arguments)


async def control(stand_in: StandIn, *rules: dict[str, Any]) -> None:
    answer = await http("PUT", f"{stand_in.url}/control", json=list(rules))
    assert answer.status_code == 200, answer.text


async def get(stand_in: StandIn, path: str) -> Any:
    return (await http("GET", stand_in.url + path)).json()


async def until_stats(stand_in: StandIn, key: str, value: Any) -> None:
    while (await get(stand_in, "/stats"))[key] != value:
        pass  # each round is a request of its own; pytest's timeout bounds the wait


def logged_ids(stand_in: StandIn) -> list[str]:
    return [line.event["metadata"]["event_id"] for line in stand_in.logged()]


async def connect(stand_in: StandIn) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = stand_in.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


def raw_post(*events: dict[str, Any]) -> bytes:
    body = json.dumps({"events": events}).encode()
    return b"POST /v1/log_event HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return int(head.split()[1]), await reader.readexactly(int(length[1]) if length else 0)


# What is kept


async def test_an_accepted_event_is_in_the_log_as_it_was_received(stand_in: StandIn) -> None:
    before = time.time()
    answer = await send(stand_in, event("a"), event("b"))

    assert (answer.status_code, answer.json()) == (202, {"success": True})
    lines = stand_in.logged()
    assert [line.event for line in lines] == [event("a"), event("b")]
    assert [line.request for line in lines] == [1, 1]
    assert all(before <= line.received_at <= time.time() for line in lines)


async def test_a_gzip_body_is_unpacked(stand_in: StandIn) -> None:
    body = gzip.compress(json.dumps({"events": [event("a")]}).encode())
    answer = await http("POST", f"{stand_in.api_url}/log_event", data=body, headers={"Content-Encoding": "gzip"})

    assert answer.status_code == 202
    assert logged_ids(stand_in) == ["a"]


async def test_no_answer_leaves_before_the_log_is_on_disk(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    syncing, go_on, real_fsync = threading.Event(), threading.Event(), os.fsync

    def held_fsync(file: int) -> None:
        syncing.set()
        assert go_on.wait(10)
        real_fsync(file)

    monkeypatch.setattr(os, "fsync", held_fsync)
    sending = asyncio.create_task(send(stand_in, event("a")))
    await asyncio.to_thread(syncing.wait, 10)

    assert (await get(stand_in, "/stats"))["accepted"] == 0  # the event loop is free meanwhile
    assert not sending.done()
    go_on.set()
    assert (await sending).status_code == 202


async def test_requests_that_wait_for_the_disk_share_one_fsync(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing, go_on, real_fsync, calls = threading.Event(), threading.Event(), os.fsync, 0

    def held_fsync(file: int) -> None:
        nonlocal calls
        calls += 1
        syncing.set()
        assert go_on.wait(10)
        real_fsync(file)

    monkeypatch.setattr(os, "fsync", held_fsync)
    reader, writer = await connect(stand_in)
    writer.write(raw_post(event("first")))
    await asyncio.to_thread(syncing.wait, 10)
    others = [await connect(stand_in) for _ in range(5)]
    for number, (_, other) in enumerate(others):
        other.write(raw_post(event(f"other-{number}")))
    await until_stats(stand_in, "requests", 6)
    go_on.set()

    for answering in (reader, *(other for other, _ in others)):
        assert (await read_answer(answering))[0] == 202
    assert calls == 2
    assert len(stand_in.logged()) == 6
    for closing in (writer, *(other for _, other in others)):
        closing.close()
        await closing.wait_closed()


async def test_a_log_that_cannot_be_written_answers_500_and_counts_nothing(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    await send(stand_in, event("before"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        assert (await send(stand_in, event("lost"))).status_code == 500
    await send(stand_in, event("after"))

    assert logged_ids(stand_in) == ["before", "after"]
    assert stand_in.stats()["accepted"] == 2
    assert stand_in.stats()["outcomes"] == {"202": 2, "500": 1}


async def test_a_restarted_stand_in_continues_its_log_without_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with running_stand_in(path) as first:
        await send(first, event("a"))
    with path.open("ab") as log:
        log.write(b'{"received_at": 1, "requ')
    async with running_stand_in(path) as second:
        await send(second, event("b"))

    assert [line.event["metadata"]["event_id"] for line in read_log(path)] == ["a", "b"]


# How it misbehaves


async def test_a_status_is_answered_as_told_and_keeps_nothing(stand_in: StandIn) -> None:
    behaviour = {"kind": "status", "status": 503, "headers": {"Retry-After": "7"}, "body": "closed"}
    await control(stand_in, {"behaviour": behaviour, "times": 2})

    answers = [await send(stand_in, event("a")) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 202]
    assert (answers[0].headers["Retry-After"], answers[0].text) == ("7", "closed")
    assert logged_ids(stand_in) == ["a"]


@pytest.mark.parametrize(
    ("behaviour", "kept"),
    [
        ({"kind": "status", "status": 200}, 1),
        ({"kind": "status", "status": 204}, 1),
        ({"kind": "status", "status": 302, "headers": {"Location": "/x"}}, 0),
        ({"kind": "status", "status": 500, "accept": True}, 1),
        ({"kind": "status", "status": 202, "accept": False}, 0),
    ],
)
async def test_a_2xx_keeps_the_events_unless_told_otherwise(
    stand_in: StandIn, behaviour: dict[str, Any], kept: int
) -> None:
    await control(stand_in, {"behaviour": behaviour})

    answer = await send(stand_in, event("a"), allow_redirects=False)

    assert answer.status_code == behaviour["status"]
    assert len(stand_in.logged()) == kept


@pytest.mark.parametrize("accept", [True, False])
async def test_a_hanging_request_is_read_and_never_answered(stand_in: StandIn, *, accept: bool) -> None:
    await control(stand_in, {"behaviour": {"kind": "hang", "accept": accept}})
    reader, writer = await connect(stand_in)
    writer.write(raw_post(event("a")))
    await until_stats(stand_in, "outcomes", {"hang": 1})

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)

    assert logged_ids(stand_in) == (["a"] if accept else [])
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("accept", [True, False])
async def test_a_reset_after_the_read_is_a_real_rst(stand_in: StandIn, *, accept: bool) -> None:
    await control(stand_in, {"behaviour": {"kind": "reset", "when": "after_read", "accept": accept}})
    reader, writer = await connect(stand_in)
    writer.write(raw_post(event("a")))

    with pytest.raises(ConnectionResetError):
        await reader.read()

    assert logged_ids(stand_in) == (["a"] if accept else [])
    writer.close()


async def test_a_reset_before_the_read_comes_when_the_headers_are_in(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "reset", "when": "before_read"}, "times": 1})
    reader, writer = await connect(stand_in)
    writer.write(raw_post(event("a")).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")

    with pytest.raises(ConnectionResetError):
        await reader.read()

    writer.close()
    assert (await send(stand_in, event("b"))).status_code == 202
    assert logged_ids(stand_in) == ["b"]


async def test_a_slow_answer_comes_late(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "slow", "delay_seconds": 0.2}})
    started = time.monotonic()

    assert (await send(stand_in, event("a"))).status_code == 202
    assert time.monotonic() - started >= 0.2


async def test_the_events_of_a_slow_answer_are_kept_at_once_and_a_client_that_leaves_is_counted(
    stand_in: StandIn,
) -> None:
    await control(stand_in, {"behaviour": {"kind": "slow", "delay_seconds": 30}})
    _, writer = await connect(stand_in)
    writer.write(raw_post(event("a")))

    await until_stats(stand_in, "accepted", 1)
    assert logged_ids(stand_in) == ["a"]
    assert stand_in.stats()["outcomes"] == {}
    writer.close()
    await writer.wait_closed()
    await until_stats(stand_in, "outcomes", {"gone": 1})


async def test_a_dripped_answer_outlives_a_timeout_per_read(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "drip", "gap_seconds": 0.03}})
    started = time.monotonic()

    answer = await send(stand_in, event("a"), timeout=0.4)

    assert answer.json() == {"success": True}
    assert time.monotonic() - started >= 16 * 0.03
    assert logged_ids(stand_in) == ["a"]


@pytest.mark.parametrize("rule", [{"event_ids": ["bad", "worse"]}, {"name_contains": "poison"}])
async def test_a_refused_event_takes_its_neighbours_down_and_nobody_else(
    stand_in: StandIn, rule: dict[str, Any]
) -> None:
    await control(stand_in, {"behaviour": {"kind": "refuse_event", **rule}, "times": 1})
    poison = event("bad", name="a poison pill")

    assert (await send(stand_in, event("a"))).status_code == 202
    assert (await send(stand_in, event("b"), poison, event("c"))).status_code == 400
    assert (await send(stand_in, event("b"), event("c"))).status_code == 202
    assert (await send(stand_in, poison)).status_code == 202  # the one use is used up

    assert logged_ids(stand_in) == ["a", "b", "c", "bad"]


async def test_an_event_rule_ahead_of_an_early_reset_sees_the_body_first(stand_in: StandIn) -> None:
    await control(
        stand_in,
        {"behaviour": {"kind": "refuse_event", "event_ids": ["bad"], "status": 422}},
        {"behaviour": {"kind": "reset", "when": "before_read"}},
    )

    assert (await send(stand_in, event("bad"))).status_code == 422
    with pytest.raises(requests.ConnectionError):
        await send(stand_in, event("good"))


async def test_rules_are_used_in_order_until_their_times_are_up(stand_in: StandIn) -> None:
    await control(
        stand_in,
        {"behaviour": {"kind": "status", "status": 503}, "times": 2},
        {"behaviour": {"kind": "status", "status": 429}, "times": 1},
    )

    assert [(await send(stand_in, event("a"))).status_code for _ in range(4)] == [503, 503, 429, 202]
    assert [(rule["used"], rule["left"]) for rule in (await get(stand_in, "/control"))["rules"]] == [(2, 0), (1, 0)]


async def test_a_seeded_probability_repeats_itself(stand_in: StandIn) -> None:
    rule = {"behaviour": {"kind": "status", "status": 500}, "probability": 0.5, "seed": 7}
    runs = []
    for _ in range(2):
        await control(stand_in, rule)
        runs.append([(await send(stand_in, event("a"))).status_code for _ in range(20)])

    assert runs[0] == runs[1]
    assert set(runs[0]) == {202, 500}


# Control


async def test_cleared_rules_are_gone(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "status", "status": 503}})

    assert (await http("DELETE", f"{stand_in.url}/control")).json() == {"rules": []}
    assert (await send(stand_in, event("a"))).status_code == 202


async def test_control_takes_an_object_with_rules_and_shows_what_is_in_force(stand_in: StandIn) -> None:
    rules = {"rules": [{"behaviour": {"kind": "slow", "delay_seconds": 2}, "times": None}]}

    shown = await http("PUT", f"{stand_in.url}/control", json=rules)

    assert shown.json() == await get(stand_in, "/control")
    assert shown.json()["rules"] == [
        {
            "behaviour": {"kind": "slow", "delay_seconds": 2.0},
            "times": None,
            "used": 0,
            "left": None,
            "summary": "answering after 2 s",
        }
    ]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("3", "body"),
        ('{"rule": []}', "rules: Field required"),
        ('[{"behaviour": {"kind": "explode"}}]', "rules[0].behaviour"),
        ('[{"behaviour": {"kind": "status", "status": 99}}]', "rules[0].behaviour.status.status"),
        ('[{"behaviour": {"kind": "status", "status": "503"}}]', "rules[0].behaviour.status.status"),
        ('[{"behaviour": {"kind": "status", "status": 200, "headers": {"A": "b\\r\\nC: d"}}}]', "cannot be sent"),
        ('[{"behaviour": {"kind": "status", "status": 200, "headers": {"Content-Length": "1"}}}]', "stand-in's own"),
        ('[{"behaviour": {"kind": "hang"}}, {"behaviour": {"kind": "hang"}, "time": 1}]', "rules[1].time"),
        ('[{"behaviour": {"kind": "hang"}, "times": 0}]', "rules[0].times"),
        ('[{"behaviour": {"kind": "hang"}, "probability": 1.5}]', "rules[0].probability"),
        ('[{"behaviour": {"kind": "hang"}, "seed": 1}]', "seed without probability"),
        ('[{"behaviour": {"kind": "reset", "when": "before_read", "accept": true}}]', "cannot be accepted"),
        ('[{"behaviour": {"kind": "slow", "delay_seconds": -1}}]', "delay_seconds"),
        ('[{"behaviour": {"kind": "refuse_event"}}]', "needs event_ids or name_contains"),
    ],
)
async def test_a_wrong_control_body_is_refused_in_one_line_and_changes_nothing(
    stand_in: StandIn, body: str, problem: str
) -> None:
    await control(stand_in, {"behaviour": {"kind": "status", "status": 503}})

    answer = await http("PUT", f"{stand_in.url}/control", data=body)

    assert answer.status_code == 400
    assert problem in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert [rule["summary"] for rule in (await get(stand_in, "/control"))["rules"]] == ["answering 503"]


# Counters and events


async def test_stats_count_requests_events_duplicates_and_outcomes(stand_in: StandIn) -> None:
    without_id = {"eventName": "plain"}
    await send(stand_in, event("a"), event("b"), event("c"))
    await send(stand_in, event("a"), event("a"), without_id)
    await control(stand_in, {"behaviour": {"kind": "status", "status": 503}})
    await send(stand_in, *[event(f"x{number}") for number in range(5)])

    stats = await get(stand_in, "/stats")

    assert stats.pop("started_at") <= time.time()
    assert stats == {
        "requests": 3,
        "accepted": 6,
        "distinct": 3,
        "duplicates": 2,
        "without_id": 1,
        "outcomes": {"202": 2, "503": 1},
        "requests_per_second": 0.3,
        "largest_batch": 5,
    }


async def test_events_come_newest_first_limited_and_after_a_sequence_number(stand_in: StandIn) -> None:
    await send(stand_in, *[event(str(number)) for number in range(1, 6)])

    async def numbers(query: str) -> list[int]:
        return [entry["seq"] for entry in (await get(stand_in, f"/events{query}"))["events"]]

    assert await numbers("") == [5, 4, 3, 2, 1]
    assert await numbers("?limit=2") == [5, 4]
    assert await numbers("?after=3") == [5, 4]
    assert await numbers("?after=5") == []
    newest = (await get(stand_in, "/events?limit=1"))["events"][0]
    assert (newest["event"], newest["request"]) == (event("5"), 1)
    assert (await http("GET", f"{stand_in.url}/events?limit=-1")).status_code == 400


# HTTP


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b'{"events": [{"value": NaN}]}', {}, 400),
        (b"\xff", {}, 400),
        (b"[]", {}, 400),
        (b'{"events": [1]}', {}, 400),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b'{"events": []}')[:-4], {"Content-Encoding": "gzip"}, 400),
        (b"x", {"Content-Encoding": "br"}, 415),
        (b" " * (LIMIT + 1), {}, 413),
        (gzip.compress(b" " * (LIMIT + 1)), {"Content-Encoding": "gzip"}, 413),
    ],
    ids=["json", "nan", "utf8", "list", "event", "gzip", "cut-gzip", "brotli", "large", "large-unpacked"],
)
async def test_a_body_that_statsig_could_not_read_is_refused(
    stand_in: StandIn, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await http("POST", f"{stand_in.api_url}/log_event", data=body, headers=headers)

    assert answer.status_code == status
    assert answer.json()["success"] is False
    assert stand_in.logged() == []


async def test_other_paths_and_methods_are_not_found(stand_in: StandIn) -> None:
    for method, path in [
        ("GET", "/v1/log_event"),
        ("POST", "/"),
        ("POST", "/v1/get_id_lists"),
        ("GET", "/favicon.ico"),
    ]:
        assert (await http(method, stand_in.url + path)).status_code == 404


async def test_one_connection_carries_many_requests_in_order(stand_in: StandIn) -> None:
    reader, writer = await connect(stand_in)
    writer.write(raw_post(event("a")) + raw_post(event("b")) + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")

    assert [(await read_answer(reader))[0] for _ in range(3)] == [202, 202, 404]
    assert logged_ids(stand_in) == ["a", "b"]
    writer.close()
    await writer.wait_closed()


async def test_what_is_not_http_is_refused_and_closed(stand_in: StandIn) -> None:
    reader, writer = await connect(stand_in)
    writer.write(b"hello\r\n\r\n")

    assert (await read_answer(reader))[0] == 400
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


# The page


async def test_the_page_is_self_contained(stand_in: StandIn) -> None:
    answer = await http("GET", f"{stand_in.url}/")

    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not re.findall(r"https?://|//\w|@import|url\(|src=", answer.text)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", answer.text)


# The process


async def test_the_process_says_where_it_listens_and_ends_on_sigterm_even_while_a_request_hangs(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.local.statsig_stand_in", "--port", "0", "--log", str(log),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = json.loads(await process.stdout.readline())
        assert line == {"url": line["url"], "api_url": f"{line['url']}/v1", "log": str(log)}
        await http("PUT", f"{line['url']}/control", json=[{"behaviour": {"kind": "hang", "accept": True}}])
        hanging = asyncio.create_task(
            http("POST", f"{line['api_url']}/log_event", json={"events": [event("a")]}, timeout=10)
        )
        while (await http("GET", f"{line['url']}/stats")).json()["outcomes"] != {"hang": 1}:
            pass

        process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(process.wait(), 5) == 0
        with pytest.raises(requests.ConnectionError):
            await hanging
        assert [kept.event for kept in read_log(log)] == [event("a")]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

"""The stand-in for Statsig over real sockets: its control, counters, page, and HTTP itself."""

import asyncio
import gzip
import json
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import requests

from deploy.local.statsig_stand_in import StandIn, read_log
from tests.support.asking_stand_in import (
    connect,
    control,
    event,
    get,
    http,
    logged_ids,
    raw_post,
    read_answer,
    send,
)

LIMIT = 16 * 1024 * 1024


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
        ('[{"behaviour": {"kind": "refuse_event"}}]', "needs event_ids, name_contains or share"),
        ('[{"behaviour": {"kind": "refuse_event", "event_id": ["a"]}}]', "rules[0].events.event_id"),
        ('[{"behaviour": {"kind": "hang"}, "events": {}}]', "needs event_ids, name_contains or share"),
        ('[{"behaviour": {"kind": "hang"}, "events": {"name_contains": "a", "seed": 1}}]', "seed without share"),
        ('[{"behaviour": {"kind": "random", "accepts_share": 1}}]', "accepts_share"),
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


async def test_the_page_is_self_contained(stand_in: StandIn) -> None:
    answer = await http("GET", f"{stand_in.url}/")

    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not re.findall(r"https?://|//\w|@import|url\(|src=", answer.text)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", answer.text)


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

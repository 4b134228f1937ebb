"""Requests of tests to a running stand-in for Statsig."""

import asyncio
import json
import re
from typing import Any

import requests

from deploy.local.statsig_stand_in import StandIn


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

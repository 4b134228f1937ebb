"""The stand-in for Statsig over real sockets: what it writes down."""

import asyncio
import gzip
import json
import os
import threading
import time
from pathlib import Path

import pytest
import requests

from deploy.local.statsig_stand_in import StandIn, read_log, running_stand_in
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
    until_stats,
)


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


async def test_the_log_of_requests_tells_what_each_carried_also_where_nothing_was_kept(stand_in: StandIn) -> None:
    await control(
        stand_in,
        {"behaviour": {"kind": "status", "status": 503}, "times": 1},
        {"behaviour": {"kind": "reset", "when": "before_read"}, "times": 1},
    )
    await send(stand_in, event("a"), event("b"))
    with pytest.raises(requests.ConnectionError):
        await send(stand_in, event("a"))
    await http("POST", f"{stand_in.api_url}/log_event", data=b"{")
    await send(stand_in, event("a"), {"eventName": "without an id"})

    told = [(each.request, each.event_ids, each.did, each.kept) for each in stand_in.requests()]

    assert told == [
        (1, ["a", "b"], "answering 503", False),
        (2, [], "resetting connections before read", False),
        (3, [], "refusing with 400", False),
        (4, ["a"], "answering 202", True),
    ]
    assert {each.request for each in stand_in.logged()} == {4}

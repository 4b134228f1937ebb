"""`nest-events console` over HTTP, on real emulators: what each page shows."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import anyio
import pytest

from deploy.local.emulators import Emulators
from shared.events.complaints import Complaint, ComplaintKind, HourlyCount
from shared.process.process_states import ProcessState, Report, Role
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.console import RunningConsole, running_console
from tests.support.operators.nest_events import nest_events
from tests.support.sample_events import sample_event
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

pytestmark = pytest.mark.emulators

PAGES = ["/", "/pending", "/dead-letters", "/dead-letters/replay", "/replays", "/events", "/rules", "/rules/new",
         "/levers/pause", "/levers/resume", "/levers/probe", "/audit", "/tail", "/warnings"]  # fmt: skip
STATIC = ["/static/console.css", "/static/console.js", "/static/icon.svg"]


async def test_every_page_answers_where_there_is_nothing(console: RunningConsole) -> None:
    for path in PAGES:
        page = await console.get(path)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8"), path
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert page.headers["cache-control"] == "no-store"
    for path in STATIC:
        assert (await console.get(path)).status == 200, path
    for path in ("/nothing", "/static/../app.py", "/static/%2e%2e/app.py", "/replays/0"):
        assert (await console.get(path)).status == 404, path


async def test_the_overview_says_what_status_and_account_say(
    console: RunningConsole, environment: dict[str, str], seeded: SeededEvents
) -> None:
    events = await seeded.log(8)
    await seeded.settle_delivered(events[:5])
    await seeded.dead_letter(events[5:7], "http_400")
    state = ProcessState(
        process_id="11111111-2222-4333-8444-555555555555", role=Role.WORKER, version="1.2.3",
        started_at=datetime.now(UTC), interval_seconds=10.0, report=Report(delivered=20, failed_requests=3),
        is_stopped=False,
    )  # fmt: skip
    await seeded.processes.report(state)

    said = (await console.get("/")).words
    told = (await nest_events(environment, "status", "--json")).json

    assert told["sentence"] in said
    assert told["losing"] in said
    assert "Delivered 2.0 /s dead lettered 0.0/s , failed requests 0.3/s" in said
    assert "Accepted none runs" in said
    assert "It adds up: 8 accepted = 5 delivered + 1 pending + 2 dead." in said
    assert all(note in said for note in told["notes"])
    assert state.process_id in said


async def test_pending_events_are_listed_and_filtered(console: RunningConsole, seeded: SeededEvents) -> None:
    (alice,) = await seeded.log(1, caller="alice@example.com", name="order_paid")
    (bob,) = await seeded.log(1, caller="bob@example.com", name="signed_up")

    every = await console.get("/pending")
    one = await console.get("/pending?caller=bob%40example.com&event_name=signed_up")
    none = await console.get("/pending?reason=http_503")

    assert [each.event_id in every.text for each in (alice, bob)] == [True, True]
    assert [each.event_id in one.text for each in (alice, bob)] == [False, True]
    assert "No pending event matches." in none.text


async def test_dead_letters_are_counted_filtered_and_paged(console: RunningConsole, seeded: SeededEvents) -> None:
    at = datetime.now(UTC) - timedelta(hours=3)
    await seeded.dead_letter(await seeded.log(60, name="order_paid"), "http_400", at=at)
    (late,) = await seeded.log(1, name="signed_up", caller="b@example.com")
    await seeded.dead_letter([late], "http_413")
    await seeded.collect()
    seen: list[str] = []

    path: str | None = "/dead-letters?order=oldest&reason=http_400"
    while path is not None:
        page = await console.get(path)
        seen += re.findall(r'<a href="/events/([^"]+)"><code>', page.text)
        following = re.search(r'rel="next" href="([^"]+)"', page.text)
        path = None if following is None else unescape(following[1])
    recent = await console.get("/dead-letters?younger_than=1h")
    wrong = await console.get("/dead-letters?younger_than=soon")

    assert (len(seen), len(set(seen))) == (60, 60)
    assert late.event_id not in seen
    assert "1 open dead letters match" in recent.words
    assert late.event_id in recent.text
    assert wrong.status == 400
    assert "'soon' is neither an age" in unescape(wrong.text)


async def test_an_event_has_its_story_and_its_dead_letter(console: RunningConsole, seeded: SeededEvents) -> None:
    (event,) = await seeded.log(1, metadata={"note": "<b>bold</b>"}, actor_id="user-<7>")
    await seeded.dead_letter([event], "http_422")
    await seeded.publish_letters([row_missing := sample_event()], "row_missing")
    await seeded.publish_poison(1)
    await seeded.collect()
    (poison,) = [each for each in await seeded.open_letters() if each.event_id is None]

    page = await console.get(f"/events/{event.event_id}")
    lost = await console.get(f"/events/{row_missing.event_id}")
    undecodable = await console.get(f"/dead-letters/{poison.message_id}")
    led = await console.get(f"/dead-letters/{event.event_id}")

    said = page.words
    assert "It was dead-lettered with http_422 after 1 attempt; its dead letter is open." in said
    assert "Attempt: rejected" in said
    assert "user-<7>" in said
    assert "&lt;b&gt;bold&lt;/b&gt;" in page.text
    assert "<b>bold" not in page.text
    assert "There is no event log row under this id." in lost.words
    assert "Poison" in undecodable.words
    assert (led.status, led.headers["location"]) == (303, f"/events/{event.event_id}")
    for path, status in ((f"/events/{sample_event().event_id}", 404), ("/events/x", 400), ("/dead-letters/x", 404)):
        assert (await console.get(path)).status == status


async def test_events_are_found_by_what_they_are(console: RunningConsole, seeded: SeededEvents) -> None:
    (alice,) = await seeded.log(1, caller="alice@example.com", name="order_paid")
    await seeded.log(1, caller="bob@example.com", name="order_paid")

    found = await console.get("/events?caller=alice%40example.com&event_name=order_paid&since=1h")
    by_id = await console.get(f"/events?event_id=%20{alice.event_id.upper()}")
    by_key = await console.get("/events?key=none-such&identity=x")

    assert re.findall(r'href="/events/([^"]+)"', found.text) == [alice.event_id]
    assert (by_id.status, by_id.headers["location"]) == (303, f"/events/{alice.event_id}")
    assert "No event matches." in by_key.text


async def test_events_appear_in_the_tail_as_they_come(console: RunningConsole, seeded: SeededEvents) -> None:
    first = await console.get("/tail?event_name=order_paid")
    (event,) = await seeded.log(1, name="order_paid")
    await seeded.log(1, name="signed_up")

    with anyio.fail_after(20):
        while event.event_id not in (page := await console.get("/tail?event_name=order_paid")).text:
            await anyio.sleep(0.1)

    assert "Nothing yet." in first.text
    assert len(re.findall(r'href="/events/([^"]+)"', page.text)) == 1
    assert 'data-refresh="2"' in page.text
    assert (await console.get("/tail?state=delivered")).status == 200
    assert (await console.get("/tail?state=x")).status == 400


async def test_warnings_are_summed_and_say_what_to_mend(console: RunningConsole, seeded: SeededEvents) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    cut = Complaint(ComplaintKind.WARNING, "a@example.com", "order_paid", "metadata.note:statsig_value_cut")
    refused = Complaint(ComplaintKind.REFUSAL, "", "signed_up", "event_name:required")
    counts = [HourlyCount(hour, 0, cut, 7), HourlyCount(hour, 1, refused, 2)]
    await seeded.complaints.write("11111111-2222-4333-8444-555555555555", counts)

    page = await console.get("/warnings")
    chosen = await console.get("/warnings?kind=refusal&caller=%28none%29")

    assert "7 warnings and 2 refusals since" in page.words
    assert "a@example.com order_paid warning metadata.note:statsig_value_cut 7 Statsig keeps" in page.words
    assert "0 warnings and 2 refusals since" in chosen.words
    assert "(none) signed_up refusal event_name:required 2 send a name that is not blank" in chosen.words
    assert [(await console.get(f"/warnings?{wrong}")).status for wrong in ("kind=x", "since=30d")] == [400, 400]


async def test_what_cannot_be_asked_is_not_known(
    environment: dict[str, str], emulators: Emulators, seeded: SeededEvents
) -> None:
    await seeded.log(1)
    async with (
        tcp_proxy(emulators.spanner_host) as proxy,
        running_console(environment | {"SPANNER_EMULATOR_HOST": proxy.address}) as console,
    ):
        await proxy.switch(Mode.BLACKHOLE)
        overview = await console.get("/")
        letters = await console.get("/dead-letters")

    said = overview.words
    assert overview.status == 200
    assert "Not known: an answer is missing" in said
    assert "Accepted not known" in said
    assert "Pending not known the oldest: not known" in said
    assert "Dead not known" in said
    assert "Nothing is lost" not in said
    assert letters.status == 503
    assert "Not known: " in letters.words

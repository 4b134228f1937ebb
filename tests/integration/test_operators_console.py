"""`nest-events console` over HTTP, on real emulators: each page, a replay from dry run to end, and who is refused."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import anyio
import pytest

from deploy.local.emulators import Emulators
from shared.events import forward_message
from shared.process.process_states import ProcessState, Report, Role
from shared.pubsub import subscription_path
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.console import Page, RunningConsole, running_console
from tests.support.operators.nest_events import nest_events
from tests.support.sample_events import sample_event
from tests.support.wire.tcp_proxy import Mode, tcp_proxy
from worker.subscription import PubSubSubscription

pytestmark = pytest.mark.emulators

PAGES = ["/", "/pending", "/dead-letters", "/dead-letters/replay", "/replays", "/events", "/rules", "/rules/new",
         "/levers/pause", "/levers/resume", "/levers/probe", "/audit"]  # fmt: skip
STATIC = ["/static/console.css", "/static/console.js", "/static/icon.svg"]


@pytest.fixture
async def console(environment: dict[str, str]) -> AsyncIterator[RunningConsole]:
    async with running_console(environment) as running:
        yield running


def text_of(page: Page) -> str:
    """The page's words, as they are read."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def listening_on(port: int) -> list[str]:
    """The kernel's addresses, IPv6 included, on which somebody listens at this port."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()]
    return [each[1] for each in lines if each[1].endswith(f":{port:04X}") and each[3] == "0A"]


async def replayed(console: RunningConsole, path: str) -> Page:
    """The page of a replay that has ended."""
    with anyio.fail_after(30):
        while "It goes on when this page is closed" in (page := await console.get(path)).text:
            await anyio.sleep(0.05)
    return page


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

    said = text_of(await console.get("/"))
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
    assert "1 open dead letters match" in text_of(recent)
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

    said = text_of(page)
    assert "It was dead-lettered with http_422 after 1 attempt; its dead letter is open." in said
    assert "Attempt: rejected" in said
    assert "user-<7>" in said
    assert "&lt;b&gt;bold&lt;/b&gt;" in page.text
    assert "<b>bold" not in page.text
    assert "There is no event log row under this id." in text_of(lost)
    assert "Poison" in text_of(undecodable)
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


async def test_a_dry_run_changes_nothing_and_its_confirmation_replays_what_it_showed(
    console: RunningConsole, environment: dict[str, str], seeded: SeededEvents
) -> None:
    chosen, other = await seeded.log(3), await seeded.log(2)
    worn_out = await seeded.log(1)
    await seeded.dead_letter([*chosen, *worn_out], "http_400")
    await seeded.dead_letter(other, "http_413")
    await seeded.set_replays(worn_out, 3)
    await seeded.collect()
    before = await seeded.states()

    dry = await console.get("/dead-letters/replay?reason=http_400")
    command = (await nest_events(environment, "dead-letters", "replay", "--reason", "http_400", "--json")).json
    assert await seeded.states() == before
    await seeded.dead_letter(late := await seeded.log(1), "http_400")  # not part of what was shown
    await seeded.collect()
    confirmed = await console.post("/dead-letters/replay", dry.hidden)
    page = await replayed(console, confirmed.headers["location"])

    assert "4 events = 3 sent + 1 quarantined" in text_of(dry)
    assert (command["outcomes"]["sent"], command["outcomes"]["quarantined"]) == (3, 1)
    assert worn_out[0].event_id in dry.text
    assert confirmed.status == 303
    assert "done 3 of 3 events" in text_of(page)
    states = await seeded.states()
    assert {states[each.event_id] for each in chosen} == {("PENDING", 1)}
    assert {states[each.event_id][0] for each in (*other, *late, *worn_out)} == {"DEAD"}
    path = subscription_path(seeded.settings, seeded.settings.forward_subscription)
    messages = await PubSubSubscription(seeded.subscriber, subscription=path).pull(max_messages=10, wait_seconds=5)
    assert {forward_message.decode(each.data).event_id for each in messages} <= {each.event_id for each in chosen}
    assert messages
    assert await console.end() == 130
    assert console.process.stderr is not None
    audit = [json.loads(line) for line in console.process.stderr if '"operator_action"' in line]
    assert [(each["command"], each["count"], each["dry_run"]) for each in audit] == [
        ("dead-letters replay", 3, True), ("dead-letters replay", 3, False),
    ]  # fmt: skip
    assert audit[1]["filter"]["reasons"] == ["http_400"]


async def test_more_than_was_shown_is_shown_again_before_anything_happens(
    console: RunningConsole, seeded: SeededEvents
) -> None:
    await seeded.dead_letter(await seeded.log(2), "http_400")
    await seeded.collect()
    dry = await console.get("/dead-letters/replay")
    before = await seeded.states()

    answered = await console.post("/dead-letters/replay", [(n, "1" if n == "shown" else v) for n, v in dry.hidden])

    assert answered.status == 409
    assert "More events match than you were shown." in answered.text
    assert dict(answered.hidden)["shown"] == "2"
    assert await seeded.states() == before


async def test_a_replay_goes_on_without_its_page_one_at_a_time_until_it_is_stopped(
    console: RunningConsole, seeded: SeededEvents
) -> None:
    events = await seeded.log(40)
    await seeded.dead_letter(events, "http_400")
    await seeded.collect()
    dry = await console.get("/dead-letters/replay?rate=1")

    first = await console.post("/dead-letters/replay", dry.hidden)
    second = await console.post("/dead-letters/replay", dry.hidden)
    running = await console.get(first.headers["location"])
    stopped = await console.post(f"{first.headers['location']}/stop", [("form_token", running.form_token)])
    page = await replayed(console, stopped.headers["location"])

    assert second.headers["location"] == first.headers["location"]
    assert "running" in text_of(running)
    assert "It was stopped. Run it again for the events that are left." in text_of(page)
    done = sum(state == "PENDING" for state, _ in (await seeded.states()).values())
    assert 1 <= done < 40
    assert f"{done} of 40 events" in text_of(page)
    assert "stopped" in text_of(await console.get("/replays"))


async def test_the_end_of_the_console_ends_a_replay_after_its_step(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    await seeded.dead_letter(await seeded.log(30), "http_400")
    await seeded.collect()
    async with running_console(environment) as console:
        dry = await console.get("/dead-letters/replay?rate=1")
        await console.post("/dead-letters/replay", dry.hidden)

        assert await console.end() == 130
        assert console.process.stdout is not None
        said = console.process.stdout.read()

    done = sum(state == "PENDING" for state, _ in (await seeded.states()).values())
    assert re.search(rf"^Replay \w+: stopped, {done} of 30 events done$", said, re.MULTILINE), said
    assert len(await seeded.open_letters()) == 30 - done


async def test_a_rule_is_shown_before_it_is_written_and_ends_when_it_is_removed(
    console: RunningConsole, environment: dict[str, str], seeded: SeededEvents
) -> None:
    await seeded.log(3, name="order_paid")
    asked = "/rules/new?action=hold&event_name=order_paid&name_prefix=&why=INC-12&lasts=2h"

    dry = await console.get(asked)
    before = (await nest_events(environment, "rules", "list", "--json")).json["rules"]
    written = await console.post("/rules/new", dry.hidden)
    (rule,) = (await nest_events(environment, "rules", "list", "--json")).json["rules"]
    again = await console.get(asked)
    listed = await console.get("/rules")
    held = await console.get("/pending?waiting=held+by+a+rule")
    ask = await console.get(f"/rules/{rule['rule_id']}/remove")
    removed = await console.post(f"/rules/{rule['rule_id']}/remove", [*ask.hidden, ("why", "mended")])
    after = await console.get("/rules")
    audit = await console.get("/audit")

    assert "Of the last hour 3 events match, 3 of them to be forwarded. Of the 3 pending events 3 match." in text_of(
        dry
    )
    assert before == []
    assert (written.status, written.headers["location"]) == (303, "/rules")
    assert (rule["action"], rule["event_name"], rule["why"]) == ("hold", "order_paid", "INC-12")
    assert again.status == 400
    assert "does the same already" in again.text
    assert rule["rule_id"] in listed.text
    assert "3 match, of all 3 pending events" in text_of(held)
    assert (removed.status, "No rule is active." in after.text) == (303, True)
    assert re.findall(r"<code>(rules \w+)</code>", audit.text) == ["rules remove", "rules add"]
    assert "mended" in audit.text


async def test_levers_ask_before_they_act(console: RunningConsole, environment: dict[str, str]) -> None:
    ask = await console.get("/levers/pause")
    before = (await nest_events(environment, "rules", "list", "--json")).json["rules"]
    await console.post("/levers/pause", [*ask.hidden, ("why", "maintenance"), ("lasts", "10m")])
    paused = (await nest_events(environment, "rules", "list", "--json")).json["rules"]
    overview = await console.get("/")
    await console.post("/levers/resume", ask.hidden)
    await console.post("/levers/probe", [*ask.hidden, ("why", "back")])
    probing = (await nest_events(environment, "rules", "list", "--json")).json["rules"]

    assert (before, [each["action"] for each in paused]) == ([], ["pause"])
    assert "maintenance" in overview.text
    assert [each["action"] for each in probing] == ["probe"]
    assert (await console.post("/levers/pause", [*ask.hidden, ("why", ""), ("lasts", "10m")])).status == 400
    assert (await console.get("/levers/x")).status == 404


async def test_strangers_get_a_sentence_and_change_nothing(console: RunningConsole, seeded: SeededEvents) -> None:
    await seeded.dead_letter(await seeded.log(1), "http_400")
    await seeded.collect()
    dry = await console.get("/dead-letters/replay")
    before = await seeded.states()
    confirm = "/dead-letters/replay"

    refused = {
        "no cookie": await console.get("/", cookie=""),
        "no cookie for a file": await console.get("/static/console.js", cookie=""),
        "another host": await console.get("/", host="evil.example"),
        "a rebound host": await console.get("/", host=f"evil.example:{console.origin.rpartition(':')[2]}"),
        "another site": await console.post(confirm, dry.hidden, origin="https://evil.example"),
        "another port": await console.post(confirm, dry.hidden, sec_fetch_site="same-site"),
        "no origin": await console.post(confirm, dry.hidden, origin=""),
        "no form token": await console.post(confirm, [each for each in dry.hidden if each[0] != "form_token"]),
        "a wrong form token": await console.post(confirm, [("form_token", "x"), *dry.hidden[1:]]),
        "no cookie for a form": await console.post(confirm, dry.hidden, cookie=""),
    }

    assert {why: page.status for why, page in refused.items()} == dict.fromkeys(refused, 403)
    assert all(console.cookie not in page.text and dry.form_token not in page.text for page in refused.values())
    assert (await console.post(confirm, [("form_token", dry.form_token)])).status == 400
    assert (await console.post(confirm, [("form_token", dry.form_token), ("x", "y" * 70_000)])).status in (400, 413)
    assert await seeded.states() == before
    assert len(await seeded.open_letters()) == 1


async def test_only_this_machine_reaches_it(console: RunningConsole) -> None:
    port = int(console.origin.rpartition(":")[2])

    assert listening_on(port) == [f"0100007F:{port:04X}"]


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

    said = text_of(overview)
    assert overview.status == 200
    assert "Not known: an answer is missing" in said
    assert "Accepted not known" in said
    assert "Pending not known the oldest: not known" in said
    assert "Dead not known" in said
    assert "Nothing is lost" not in said
    assert letters.status == 503
    assert "Not known: " in text_of(letters)


async def test_a_port_that_is_taken_is_wrong_usage(console: RunningConsole, environment: dict[str, str]) -> None:
    ran = await nest_events(environment, "console", "--port", console.origin.rpartition(":")[2])

    assert ran.code == 2
    assert "is not free" in ran.err

"""`nest-events console` over HTTP, on real emulators: replays and rules from dry run to end, and who is refused."""

import json
import re
from pathlib import Path

import anyio
import pytest

from shared.events import forward_message
from shared.pubsub import subscription_path
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.console import Page, RunningConsole, running_console
from tests.support.operators.nest_events import nest_events
from worker.subscription import PubSubSubscription

pytestmark = pytest.mark.emulators


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

    assert "4 events = 3 sent + 1 quarantined" in dry.words
    assert (command["outcomes"]["sent"], command["outcomes"]["quarantined"]) == (3, 1)
    assert worn_out[0].event_id in dry.text
    assert confirmed.status == 303
    assert "done 3 of 3 events" in page.words
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
    assert "running" in running.words
    assert "It was stopped. Run it again for the events that are left." in page.words
    done = sum(state == "PENDING" for state, _ in (await seeded.states()).values())
    assert 1 <= done < 40
    assert f"{done} of 40 events" in page.words
    assert "stopped" in (await console.get("/replays")).words


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

    assert "Of the last hour 3 events match, 3 of them to be forwarded. Of the 3 pending events 3 match." in dry.words
    assert before == []
    assert (written.status, written.headers["location"]) == (303, "/rules")
    assert (rule["action"], rule["event_name"], rule["why"]) == ("hold", "order_paid", "INC-12")
    assert again.status == 400
    assert "does the same already" in again.text
    assert rule["rule_id"] in listed.text
    assert "3 match, of all 3 pending events" in held.words
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


async def test_a_port_that_is_taken_is_wrong_usage(console: RunningConsole, environment: dict[str, str]) -> None:
    ran = await nest_events(environment, "console", "--port", console.origin.rpartition(":")[2])

    assert ran.code == 2
    assert "is not free" in ran.err

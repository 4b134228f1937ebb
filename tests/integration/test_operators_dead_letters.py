"""`nest-events dead-letters` on real emulators: reads change nothing, and replays publish the right events."""

import signal
from datetime import UTC, datetime

import anyio
import pytest

from shared.events import forward_message
from shared.pubsub import subscription_path
from tests.support.emulators.seeded_events import LONG_AGO, SeededEvents
from tests.support.operators.nest_events import nest_events, start_nest_events
from tests.support.sample_events import sample_event
from worker.subscription import PubSubSubscription, Subscription

pytestmark = pytest.mark.emulators


@pytest.fixture
async def forwarded(seeded: SeededEvents) -> Subscription:
    """The subscription in which replayed messages arrive; no worker runs."""
    path = subscription_path(seeded.settings, seeded.settings.forward_subscription)
    return PubSubSubscription(seeded.subscriber, subscription=path)


async def arrived(forwarded: Subscription) -> list[str]:
    """Pull and ack everything on the forward topic; the event ids."""
    found: list[str] = []
    while messages := await forwarded.pull(max_messages=1000, wait_seconds=0.5):
        await forwarded.acknowledge([message.ack_id for message in messages])
        found += [forward_message.decode(message.data).event_id for message in messages]
    return sorted(found)


async def test_list_counts_by_everything_and_changes_nothing(environment: dict[str, str], seeded: SeededEvents) -> None:
    await seeded.dead_letter(await seeded.log(3, caller="a@example.com"), "http_400", at=datetime.now(UTC) - LONG_AGO)
    await seeded.dead_letter(await seeded.log(2, caller="b@example.com", name="signed_up"), "http_413")
    await seeded.dead_letter_natively(await seeded.log(1))
    await seeded.publish_letters([sample_event()], "row_missing")
    await seeded.publish_poison(1)
    await seeded.collect()

    listed = (await nest_events(environment, "dead-letters", "list", "--json")).json
    filtered = (await nest_events(environment, "dead-letters", "list", "--older-than", "24h", "--json")).json
    newest = (await nest_events(environment, "dead-letters", "list", "--newest", "--limit", "2", "--json")).json
    plain = await nest_events(environment, "dead-letters", "list", "--caller", "b@example.com", "--limit", "1")

    assert listed["events"] == 8
    assert listed["by_reason"] == {"http_400": 3, "http_413": 2, "native": 1, "row_missing": 1, "undecodable": 1}
    assert listed["by_caller"] == {"a@example.com": 3, "(none)": 2, "b@example.com": 2, "caller@example.com": 1}
    assert listed["by_event_name"] == {"order_paid": 5, "signed_up": 2, "(none)": 1}
    assert listed["by_age"] == {"under 1 hour": 5, "1 to 7 days": 3}
    assert [each["reason"] for each in listed["oldest_first"][:3]] == ["http_400"] * 3
    # The event of the native one is pending, and one has no ledger row: neither is dead.
    assert (listed["dead_without_letter"], listed["letters_without_dead"]) == (0, 2)
    assert filtered["by_reason"] == {"http_400": 3}
    assert [each["reason"] for each in newest["newest_first"]] == ["undecodable", "row_missing"]
    assert newest["not_listed"] == 6
    assert "2 dead letters, the oldest from" in plain.out
    assert "... and 1 more; --limit lists more" in plain.out
    assert (plain.code, plain.err) == (0, "")
    assert len(await seeded.open_letters()) == 8


async def test_show_decodes_and_foretells(environment: dict[str, str], seeded: SeededEvents) -> None:
    (event,) = await seeded.log(1)
    await seeded.dead_letter([event], "http_422")
    await seeded.publish_poison(1)
    await seeded.collect()

    shown = (await nest_events(environment, "dead-letters", "show", event.event_id, "--json")).json
    plain = await nest_events(environment, "dead-letters", "show", event.event_id)
    listed = (await nest_events(environment, "dead-letters", "list", "--reason", "undecodable", "--json")).json
    poison = await nest_events(environment, "dead-letters", "show", listed["oldest_first"][0]["message_id"])
    none = await nest_events(environment, "dead-letters", "show", sample_event().event_id)

    assert shown["event"]["metadata"] == event.metadata
    assert (shown["caller"], shown["ledger"]["state"], shown["on_replay"]) == ("caller@example.com", "DEAD", "sent")
    assert [(each["reason"], each["status"]) for each in shown["dead_letters"]] == [("http_422", "422")]
    assert "On replay: dead: made pending again and published." in plain.out
    assert "never replayed" in poison.out
    assert (none.code, "no dead letter of" in none.err) == (1, True)


async def test_a_dry_run_counts_and_changes_nothing(
    environment: dict[str, str], seeded: SeededEvents, forwarded: Subscription
) -> None:
    await seeded.dead_letter(await seeded.log(2), "http_400")
    await seeded.collect()
    before = await seeded.states()

    dry = await nest_events(environment, "dead-letters", "replay", "--reason", "http_400", "--limit", "1")

    assert dry.code == 0
    assert "2 events = 1 sent + 1 left" in dry.out
    assert dry.audit["dry_run"] is True
    assert (dry.audit["command"], dry.audit["count"], dry.audit["filter"]["reasons"]) == (
        "dead-letters replay",
        1,
        ["http_400"],
    )
    assert dry.audit["who"]
    assert await seeded.states() == before
    assert await arrived(forwarded) == []
    assert len(await seeded.open_letters()) == 2


async def test_a_replay_sends_what_may_be_sent_and_leaves_the_rest(
    environment: dict[str, str], seeded: SeededEvents, forwarded: Subscription
) -> None:
    dead = await seeded.log(3)
    await seeded.dead_letter(dead, "http_400")
    native = await seeded.log(2)
    await seeded.dead_letter_natively(native)
    delivered = await seeded.log(2)
    await seeded.publish_letters(delivered, "http_400")
    worn_out = await seeded.log(1)
    await seeded.dead_letter(worn_out, "http_400")
    await seeded.set_replays(worn_out, 3)
    in_work = await seeded.log(1)
    await seeded.ledger.claim([in_work[0].event_id], token="worker", seconds=300)
    await seeded.dead_letter_natively(in_work)
    await seeded.publish_letters([sample_event()], "row_missing")
    await seeded.publish_poison(1)
    await seeded.collect()
    await seeded.settle_delivered(delivered)

    ran = await nest_events(environment, "dead-letters", "replay", "--yes", "--rate", "100", "--json")

    assert ran.json["outcomes"] == {
        "sent": 3, "sent_again": 2, "delivered": 2, "in_work": 1, "quarantined": 1, "poison": 1, "missing": 1,
        "taken": 0, "left": 0,
    }  # fmt: skip
    assert ran.json["adds_up"]
    assert [(each["event_id"], each["replays"]) for each in ran.json["quarantined"]] == [(worn_out[0].event_id, 3)]
    assert await arrived(forwarded) == sorted(event.event_id for event in [*dead, *native])
    states = await seeded.states()
    assert {states[event.event_id] for event in dead} == {("PENDING", 1)}
    assert {states[event.event_id] for event in native} == {("PENDING", 0)}
    assert len(await seeded.open_letters()) == 4


async def test_ids_come_from_stdin_and_a_higher_bound_lifts_the_quarantine(
    environment: dict[str, str], seeded: SeededEvents, forwarded: Subscription
) -> None:
    events = await seeded.log(3)
    await seeded.dead_letter(events, "http_400")
    await seeded.collect()
    await seeded.set_replays(events, 3)
    chosen = events[0].event_id

    ran = await nest_events(
        environment, "dead-letters", "replay", "--ids-from", "-", "--max-replays", "4", "--yes", stdin=f"{chosen}\n"
    )

    assert "1 events = 1 sent" in ran.out
    assert await arrived(forwarded) == [chosen]
    assert len(await seeded.open_letters()) == 2


async def test_dead_events_without_a_letter_are_rebuilt_from_their_rows(
    environment: dict[str, str], seeded: SeededEvents, forwarded: Subscription
) -> None:
    expired = await seeded.log(3, metadata={"a": [1, 2.5, None]})
    await seeded.settle_dead(expired, "http_400", 400)
    with_letter = await seeded.log(1)
    await seeded.dead_letter(with_letter, "http_400")
    await seeded.collect()

    hint = await nest_events(environment, "dead-letters", "replay", "--reason", "native")
    ran = await nest_events(environment, "dead-letters", "replay", "--from-rows", "--yes", "--json")
    messages = await forwarded.pull(max_messages=10, wait_seconds=2)

    assert "No dead letter matches." in hint.out
    assert "3 dead events have no dead letter here" in hint.out
    assert ran.json["outcomes"]["sent"] == 4
    assert sorted(message.data for message in messages) == sorted(
        forward_message.encode(event).data for event in [*expired, *with_letter]
    )


async def test_dead_events_without_dead_letters_are_hinted_at(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    empty = await nest_events(environment, "dead-letters", "list")
    await seeded.settle_dead(await seeded.log(1), "http_400", 400)

    hint = await nest_events(environment, "dead-letters", "list")

    assert (empty.code, empty.out) == (0, "No dead letters.\n")
    assert "--from-rows" in hint.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_finishes_its_step_leaves_the_rest_and_adds_up(
    environment: dict[str, str], seeded: SeededEvents, forwarded: Subscription, number: signal.Signals
) -> None:
    await seeded.dead_letter(await seeded.log(200), "http_400")
    await seeded.collect()
    process = start_nest_events(environment, "dead-letters", "replay", "--yes", "--rate", "40")
    with anyio.fail_after(20):
        while sum(state == "PENDING" for state, _ in (await seeded.states()).values()) < 20:
            await anyio.sleep(0.05)
    process.send_signal(number)
    out, err = await anyio.to_thread.run_sync(process.communicate)

    states = await seeded.states()
    sent = sum(state == "PENDING" for state, _ in states.values())
    assert process.returncode == 130
    assert f"200 events = {sent} sent + {200 - sent} left" in out
    assert "run the same command again" in out
    assert "Traceback" not in err
    assert len(await arrived(forwarded)) == sent
    assert len(await seeded.open_letters()) == 200 - sent


@pytest.mark.parametrize("point", ["replay_after_reopen", "replay_after_publish"])
async def test_a_replay_killed_at_any_point_is_taken_up_by_the_next(
    environment: dict[str, str], seeded: SeededEvents, forwarded: Subscription, point: str
) -> None:
    events = await seeded.log(4)
    await seeded.dead_letter(events, "http_400")
    await seeded.collect()
    killed = await nest_events(
        environment | {"FAULT_POINTS": f"{point}=exit"}, "dead-letters", "replay", "--yes", "--rate", "8"
    )
    assert killed.code == 137

    ran = await nest_events(environment, "dead-letters", "replay", "--yes", "--rate", "100", "--json")
    await nest_events(environment, "reconcile", "--now")

    # Rate 8 is 2 events per step. The first 2 were reopened before the kill: the reconciler publishes them.
    assert (ran.json["events"], ran.json["outcomes"]["sent"]) == (2, 2)
    assert set((await seeded.states()).values()) == {("PENDING", 1)}
    assert set(await arrived(forwarded)) == {event.event_id for event in events}
    assert await seeded.open_letters() == []

"""`nest-events tail` on the emulators: each event once, in every state, through an outage, and never silently cut."""

import json
import signal
import subprocess
from typing import Any

import anyio
import pytest

from deploy.local.emulators import Emulators
from shared.events.event import Event
from shared.events.forward_ledger import ForwardState
from shared.spanner.late_forward_ledger import SpannerLateForwardLedger
from shared.spanner.replay_ledger import SpannerReplayLedger
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import SECONDS, start_nest_events
from tests.support.operators.on_terminal import on_terminal
from tests.support.wire.tcp_proxy import Mode, tcp_proxy
from worker.operators.events.tail import Tail
from worker.operators.events.tail_events import Batch, TailChoice, TailState

pytestmark = pytest.mark.emulators


def tail_of(seeded: SeededEvents, *, shown: int = 200, watched: int = 10_000, **values: Any) -> Tail:
    choice = TailChoice(**values)
    return Tail(seeded.database, choice, shards=seeded.settings.forward_shards, shown=shown, watched=watched)


def ids(batch: Batch) -> list[str]:
    return [event.event_id for event in batch.events]


def ids_of(events: list[Event]) -> list[str]:
    return [event.event_id for event in events]


async def test_events_are_told_once_as_they_are_accepted_with_the_state_that_they_have(seeded: SeededEvents) -> None:
    await seeded.log(2)
    tail = tail_of(seeded)
    nothing = await tail.next()
    (stored,) = await seeded.log(1, forward=False)
    (pending,) = await seeded.log(1, caller="a@example.com")
    (delivered,) = await seeded.log(1)
    await seeded.settle_delivered([delivered])
    (dead,) = await seeded.log(1, name="signed_up")
    await seeded.settle_dead([dead], "http_400", 400)

    batch = await tail.next()
    after = await tail.next()

    assert (nothing.events, after.events) == ((), ())
    assert [(each.event_id, each.state, each.reason) for each in batch.events] == [
        (stored.event_id, TailState.STORED_ONLY, None),
        (pending.event_id, TailState.PENDING, None),
        (delivered.event_id, TailState.DELIVERED, "http_202"),
        (dead.event_id, TailState.DEAD, "http_400"),
    ]
    assert [(each.event_name, each.caller) for each in batch.events[1::2]] == [
        ("order_paid", "a@example.com"),
        ("signed_up", "caller@example.com"),
    ]
    assert nothing.until < batch.events[0].at < batch.events[-1].at <= batch.until


@pytest.mark.parametrize("state", [None, *ForwardState])
async def test_each_filter_chooses_in_each_state(seeded: SeededEvents, state: ForwardState | None) -> None:
    filters: list[dict[str, Any]] = [
        {"event_name": "order_paid"},
        {"name_prefix": "order_"},
        {"caller": "a@example.com"},
    ]
    tails = [tail_of(seeded, state=state, **values) for values in filters]
    for tail in tails:
        await tail.next()
    chosen = await seeded.log(2, name="order_paid", caller="a@example.com")
    others = await seeded.log(2, name="signed_up", caller="b@example.com")
    if state is ForwardState.DEAD:
        await seeded.settle_dead([*chosen, *others], "http_400", 400)
    elif state is ForwardState.DELIVERED:
        await seeded.settle_delivered([*chosen, *others])

    for tail in tails:
        assert sorted(ids(await tail.next())) == sorted(ids_of(chosen))


async def test_events_are_told_when_they_die(seeded: SeededEvents) -> None:
    events = await seeded.log(3)
    await seeded.settle_dead(events[:1], "http_413", 413)
    tail = tail_of(seeded, state=ForwardState.DEAD)
    await tail.next()
    await seeded.settle_dead(events[1:2], "http_400", 400)

    (died,), nothing = (await tail.next()).events, await tail.next()

    assert (died.event_id, died.state, died.reason) == (events[1].event_id, TailState.DEAD, "http_400")
    assert died.event_name == "order_paid"
    assert nothing.events == ()


async def test_events_are_told_when_they_become_pending_be_it_again_or_late(seeded: SeededEvents) -> None:
    (dead,), (stored,) = await seeded.log(1), await seeded.log(1, forward=False)
    await seeded.settle_dead([dead], "http_400", 400)
    tail = tail_of(seeded, state=ForwardState.PENDING)
    await tail.next()
    (fresh,) = await seeded.log(1)
    first = await tail.next()
    await SpannerReplayLedger(seeded.ledger.transactions, timeout_seconds=20).reopen([dead.event_id], max_replays=3)
    second = await tail.next()
    await SpannerLateForwardLedger(seeded.ledger.transactions, timeout_seconds=20).admit([stored.event_id])
    third = await tail.next()

    assert [ids(each) for each in (first, second, third)] == [[fresh.event_id], [dead.event_id], [stored.event_id]]
    assert [each.reason for each in second.events] == ["http_400"]
    assert {each.state for batch in (first, second, third) for each in batch.events} == {TailState.PENDING}


async def test_events_are_told_when_they_are_delivered_those_of_the_last_minute_included(seeded: SeededEvents) -> None:
    early, before = await seeded.log(2)
    await seeded.settle_delivered([before])
    tail = tail_of(seeded, state=ForwardState.DELIVERED)
    await tail.next()
    late, slow, dead = await seeded.log(3)
    await seeded.settle_delivered([late])
    await seeded.settle_dead([dead], "http_400", 400)
    first = await tail.next()
    await seeded.settle_delivered([early, slow])
    second, third = await tail.next(), await tail.next()

    assert ids(first) == [late.event_id]
    assert sorted(ids(second)) == sorted([early.event_id, slow.event_id])
    assert {each.state for each in [*first.events, *second.events]} == {TailState.DELIVERED}
    assert third.events == ()
    assert (first.unwatched, second.unwatched) == (0, 0)


async def test_a_set_of_awaited_events_that_overflows_says_so(seeded: SeededEvents) -> None:
    tail = tail_of(seeded, state=ForwardState.DELIVERED, watched=3)
    await tail.next()
    events = await seeded.log(5)
    first = await tail.next()
    more = await seeded.log(2)
    second = await tail.next()
    await seeded.settle_delivered([*events, *more])
    third = await tail.next()

    assert (first.unwatched, second.unwatched, third.unwatched) == (2, 2, 0)
    assert len(third.events) == 3
    assert set(ids_of(more)) < set(ids(third))


@pytest.mark.parametrize("state", [None, ForwardState.DEAD, ForwardState.PENDING, ForwardState.DELIVERED])
async def test_what_is_more_than_a_batch_shows_is_counted_exactly(
    seeded: SeededEvents, state: ForwardState | None
) -> None:
    tail = tail_of(seeded, state=state, shown=4)
    await tail.next()
    events = [*await seeded.log(30), *await seeded.log(4)]
    if state is ForwardState.DEAD:
        await seeded.settle_dead(events, "http_400", 400)
    elif state is ForwardState.DELIVERED:
        await seeded.settle_delivered(events)

    batch = await tail.next()

    assert (len(batch.events), batch.left_out) == (4, 30)
    if state is None:
        assert sorted(ids(batch)) == sorted(ids_of(events[30:])), "the latest are shown"


async def test_no_event_is_missed_or_told_twice_while_others_are_committed(seeded: SeededEvents) -> None:
    tail = tail_of(seeded)
    await tail.next()
    committed: list[str] = []
    told: list[str] = []

    async def commit() -> None:
        for _ in range(15):
            committed.extend(ids_of(await seeded.log(2)))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(commit)
        while len(committed) < 90:
            told += ids(await tail.next())
    told += ids(await tail.next())

    assert sorted(told) == sorted(committed)


# Below: the command, as a process.


async def next_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    with anyio.fail_after(SECONDS):
        return str(await anyio.to_thread.run_sync(process.stdout.readline)).rstrip("\n")


async def end(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = await anyio.to_thread.run_sync(process.communicate)
    return process.returncode, out, err


async def until_it_tells(seeded: SeededEvents, process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The first line, of one of several events: the process begins to look at a time that nobody outside knows."""
    assert process.stdout is not None
    async with anyio.create_task_group() as tasks:

        async def log() -> None:
            while True:
                await seeded.log(1, name="beginning")
                await anyio.sleep(0.3)

        tasks.start_soon(log)
        found: dict[str, Any] = json.loads(await next_line(process))
        tasks.cancel_scope.cancel()
    return found


@pytest.mark.timeout(60)
async def test_with_json_each_line_is_an_event_and_ctrl_c_ends_it(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    with start_nest_events(environment, "tail", "--json", "--interval", "1") as process:
        first = await until_it_tells(seeded, process)
        (event,) = await seeded.log(1, name="order_paid", caller="a@example.com", actor_id="somebody")
        found = first
        while found["event_name"] == "beginning":
            found = json.loads(await next_line(process))
        code, out, err = await end(process)

    assert found.keys() == {"at", "event_name", "caller", "state", "reason", "event_id"}
    assert (found["event_id"], found["state"], found["caller"]) == (event.event_id, "PENDING", "a@example.com")
    assert (code, out, err) == (130, "", "")


@pytest.mark.timeout(90)
async def test_it_survives_an_outage_of_spanner_says_so_and_misses_nothing(
    environment: dict[str, str], emulators: Emulators, seeded: SeededEvents
) -> None:
    async with tcp_proxy(emulators.spanner_host) as proxy:
        behind = environment | {"SPANNER_EMULATOR_HOST": proxy.address}
        with start_nest_events(behind, "tail", "--json", "--interval", "1") as process:
            await until_it_tells(seeded, process)
            await proxy.switch(Mode.BLACKHOLE)
            told: list[dict[str, Any]] = []
            while not told or "notice" not in told[-1]:
                told.append(json.loads(await next_line(process)))
            (event,) = await seeded.log(1, name="during")
            await proxy.switch(Mode.PASS)
            back = json.loads(await next_line(process))
            while (found := json.loads(await next_line(process)))["event_name"] == "beginning":
                pass
            code, _, _ = await end(process)

    assert told[-1]["notice"] == "unavailable"
    assert "Spanner did not answer within 5 s" in told[-1]["why"]
    assert back == {"notice": "available"}
    assert (found["event_id"], found["event_name"]) == (event.event_id, "during")
    assert code == 130


@pytest.mark.timeout(60)
async def test_where_nobody_reads_any_more_it_ends_quietly_without_a_further_event(
    environment: dict[str, str],
) -> None:
    with start_nest_events(environment, "tail", "--interval", "1") as process:
        header = await next_line(process)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = await anyio.to_thread.run_sync(process.stderr.read)

    assert header.split("\t") == ["time", "event name", "caller", "state", "reason", "event_id"]
    assert (process.returncode, err) == (4, "")


@pytest.mark.timeout(60)
async def test_a_pipe_has_one_event_a_line_and_says_on_stderr_what_was_left_out(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    with start_nest_events(environment, "tail", "--interval", "1", "--event-name", "order_paid") as process:
        header = await next_line(process)
        await seeded.log(400)  # in one commit
        lines = [await next_line(process) for _ in range(200)]
        code, _, err = await end(process)

    assert header.startswith("time\t")
    assert {len(line.split("\t")) for line in lines} == {6}
    assert (code, err) == (130, "… 200 more\n")


@pytest.mark.timeout(60)
async def test_on_a_terminal_it_shows_columns(environment: dict[str, str], seeded: SeededEvents) -> None:
    async with on_terminal(environment, "tail", "--interval", "1") as terminal:
        await terminal.read_until("event_id")
        (event,) = await seeded.log(1)
        await terminal.read_until(event.event_id)
        terminal.process.send_signal(signal.SIGINT)
        await terminal.read_to_the_end()
        code = await anyio.to_thread.run_sync(terminal.process.wait)

    assert code == 130
    assert "Z  order_paid" in terminal.text
    assert "caller@example.com" in terminal.text


async def test_a_spanner_that_is_away_at_first_is_an_error_like_any_other(environment: dict[str, str]) -> None:
    with start_nest_events(environment | {"SPANNER_EMULATOR_HOST": "127.0.0.1:9"}, "tail") as process:
        out, err = await anyio.to_thread.run_sync(process.communicate)

    assert (process.returncode, out) == (3, "")
    assert "it cannot be reached" in err

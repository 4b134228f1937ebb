"""What `nest-events status` and `watch` show, also where Spanner does not answer."""

import signal
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from deploy.local.emulators import Emulators
from shared.events.forward_ledger import LEDGER_TABLE, DeliveryRecord
from shared.process.process_states import ProcessState, Report, Role
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import nest_events
from tests.support.operators.on_terminal import on_terminal
from tests.support.wire.tcp_proxy import Mode, tcp_proxy
from worker.operators.state.backlog import Backlog

pytestmark = pytest.mark.emulators

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def process(role: Role = Role.WORKER, *, stopped: bool = False, **fields: object) -> ProcessState:
    return ProcessState(
        process_id=str(uuid.uuid4()),
        role=role,
        version="1.2.3",
        started_at=AT,
        interval_seconds=10.0,
        report=Report(**fields),  # type: ignore[arg-type]
        is_stopped=stopped,
    )


async def test_status_says_that_all_is_well(environment: dict[str, str], seeded: SeededEvents) -> None:
    events = await seeded.log(3)
    await seeded.settle_delivered(events)
    await seeded.processes.report(process(delivered=20))
    await seeded.processes.report(process(Role.INGRESS, accepted=20))

    told = await nest_events(environment, "status", "--json")
    plain = await nest_events(environment, "status")

    assert (told.code, told.json["verdict"], told.json["problems"]) == (0, "well", []), told.out
    assert told.json["rates"]["worker"]["delivered"] == 2.0
    assert plain.out.startswith("Well: accepted events are delivered.\nNothing is lost: each of 3 events")


async def test_status_says_what_is_wrong_since_when_and_what_waits(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    events = await seeded.log(5, caller="alice@example.com")
    await seeded.settle_delivered(events[:2])
    await seeded.dead_letter(events[2:3], "http_400")
    await seeded.ledger.claim([events[3].event_id], token="t", seconds=60)
    await seeded.ledger.release([DeliveryRecord(events[3].event_id, 1, 0, AT, "http_503", 503, ())], token="t")
    ill = process(circuit_reason="http_503", circuit_since=AT, next_probe_at=datetime.now(UTC) + timedelta(minutes=1))
    stopped = process(stopped=True)
    for each in (ill, stopped):
        await seeded.processes.report(each)

    ran = await nest_events(environment, "status", "--json")
    plain = await nest_events(environment, "watch", "--once")

    told = ran.json
    assert (ran.code, plain.code, told["verdict"], told["pending"]) == (1, 1, "stopped", 2)
    assert told["since"] == AT.isoformat()
    assert told["oldest"]["by_reason"] == {"http_503": 1, "not tried yet": 1}
    assert told["oldest"]["by_caller"] == {"alice@example.com": 2}
    assert [(each["reason"], each["events"], each["within_the_hour"]) for each in told["dead"]] == [("http_400", 1, 1)]
    assert [(each["process_id"], each["circuit"]) for each in told["processes"]] == [(ill.process_id, "open")]
    assert "The circuit of 1 of 1 worker has been open since 2026-03-04 05:06:07Z" in plain.out
    assert "To do: Statsig, or a proxy before it, is down" in plain.out
    assert stopped.process_id not in plain.out


@pytest.mark.timeout(60)
async def test_what_could_not_be_asked_is_said_to_be_not_known(
    environment: dict[str, str], emulators: Emulators
) -> None:
    async with tcp_proxy(emulators.spanner_host) as proxy:
        await proxy.switch(Mode.BLACKHOLE)
        frozen = environment | {"SPANNER_EMULATOR_HOST": proxy.address}
        told = await nest_events(frozen, "status", "--json")
        plain = await nest_events(frozen, "status")
        account = await nest_events(frozen, "account")

    assert (told.code, plain.code, account.code) == (3, 3, 3)
    assert (told.json["verdict"], told.json["pending"], told.json["dead"]) == ("unknown", None, None)
    assert "Pending      not known" in plain.out
    assert (
        f"Spanner did not answer within 5 s: it cannot be reached (SPANNER_EMULATOR_HOST={proxy.address}" in account.err
    )


@pytest.mark.timeout(90)
async def test_watch_survives_an_outage_of_spanner_and_leaves_its_last_screen(
    environment: dict[str, str], emulators: Emulators, seeded: SeededEvents
) -> None:
    await seeded.log(2)
    await seeded.processes.report(process(Role.INGRESS, accepted=20))
    async with tcp_proxy(emulators.spanner_host) as proxy:
        behind = environment | {"SPANNER_EMULATOR_HOST": proxy.address}
        async with on_terminal(behind, "watch", "--interval", "1") as terminal:
            await terminal.read_until("Pending      2")
            await proxy.switch(Mode.BLACKHOLE)
            await terminal.read_until("Pending      not known")
            await proxy.switch(Mode.PASS)
            terminal.forget()
            await terminal.read_until("Pending      2")
            terminal.process.send_signal(signal.SIGINT)
            await terminal.read_to_the_end()
            code = await anyio.to_thread.run_sync(terminal.process.wait)

    after_the_screen = terminal.written.decode().rpartition("\x1b[?1049l")[2]
    assert code == 130
    assert "nest-events watch   20" in after_the_screen
    assert "Pending      2" in after_the_screen


async def test_the_oldest_are_the_oldest_and_it_is_said_whether_they_are_all(seeded: SeededEvents) -> None:
    events = await seeded.log(200)
    begin = AT
    ages = {event.event_id: begin + timedelta(seconds=number) for number, event in enumerate(events)}
    async with seeded.database.batch() as batch:
        batch.update(LEDGER_TABLE, ("event_id", "pending_since"), list(ages.items()))
    backlog = Backlog(seeded.database, shards=seeded.settings.forward_shards)

    some, everything = await backlog.oldest(limit=40), await backlog.oldest()

    times = [each.pending_since for each in some.events]
    assert times == [begin + timedelta(seconds=number) for number in range(len(times))]
    assert 0 < len(times) <= 40
    assert (some.are_all, everything.are_all, len(everything.events)) == (False, True, 200)
    assert (some.since, everything.since) == (begin, begin)


async def test_an_event_without_its_ledger_row_is_found_among_the_recent(seeded: SeededEvents) -> None:
    (lost, *_) = await seeded.log(20)
    backlog = Backlog(seeded.database, shards=seeded.settings.forward_shards)
    well = await backlog.recent()
    async with seeded.database.batch() as batch:
        batch.update(LEDGER_TABLE, ("event_id", "state"), [(lost.event_id, "LOST")])
    ill = await backlog.recent()

    assert (well.looked_at, well.unaccounted) == (20, ())
    assert ill == replace(well, unaccounted=(lost.event_id,))

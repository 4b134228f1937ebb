"""Events that were stored only reach Statsig once after `nest-events forward`, through a kill in the middle of it."""

from pathlib import Path

import anyio
import pytest

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from deploy.local.stack import StackOptions, running_stack
from shared.spanner.accounting import SpannerAccounting
from tests.support.delivery import deliveries, until_delivered
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import nest_events, start_nest_events

pytestmark = [pytest.mark.emulators, pytest.mark.processes]

DO_IT = ("--why", "a rule was too wide", "--yes")


@pytest.mark.timeout(120)
async def test_200_stored_events_of_a_time_arrive_once_and_no_others(
    emulators: Emulators, names: StackNames, environment: dict[str, str], seeded: SeededEvents, tmp_path: Path
) -> None:
    clock = SpannerAccounting(seeded.database)
    await seeded.log(20, forward=False)
    begin = await clock.now()
    chosen = [event.event_id for event in await seeded.log(200, forward=False)]
    others = await seeded.log(20, forward=False, name="signed_up")
    end = await clock.now()
    await seeded.log(20, forward=False)
    window = ("--from", begin.isoformat(), "--to", end.isoformat(), "--event-name", "order_paid")

    settings = {"RECONCILE_AFTER_SECONDS": "1", "RECONCILE_INTERVAL_SECONDS": "0.5"}
    async with running_stack(tmp_path, StackOptions(settings=settings), names=names, emulators=emulators) as stack:
        log = stack.statsig_log
        assert log is not None
        process = start_nest_events(environment, "forward", *window, "--rate", "50", *DO_IT)
        with anyio.fail_after(40):
            while len(await seeded.states()) < 40:
                assert process.poll() is None, process.communicate()
                await anyio.sleep(0.02)
        process.kill()
        process.communicate()
        ran = await nest_events(environment, "forward", *window, "--rate", "200", "--json", *DO_IT)
        received = await until_delivered(chosen, log)
        account = (await nest_events(environment, "account", "--json")).json["total"]

    assert ran.code == 0, ran.err
    assert 0 < ran.json["outcomes"]["already"] < 200
    assert ran.json["outcomes"]["already"] + ran.json["outcomes"]["forwarded"] == 200
    assert received == dict.fromkeys(chosen, 1)
    assert deliveries(log) == received
    assert (account["accepted"], account["forwarded_later"], account["unaccounted"]) == (200, 200, 0)
    assert not {event.event_id for event in others} & received.keys()

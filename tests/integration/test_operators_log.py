"""`nest-events log`: a test event that is not delivered, and one that cannot be followed."""

import pytest

from deploy.local.emulators import Emulators
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import nest_events
from tests.support.wire.ingress import running_ingress
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

pytestmark = pytest.mark.emulators


@pytest.mark.timeout(90)
async def test_an_event_that_nobody_delivers_is_told_with_the_reason(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    async with running_ingress(environment) as ingress:
        ran = await nest_events(environment, "log", "--url", ingress.url, "--wait", "0", "--json")

    assert (ran.code, ran.json["state"]) == (1, "PENDING"), ran.err
    assert ran.json["advice"].startswith("No worker runs: none was seen within a day.")
    assert ran.json["event_id"] in await seeded.states()
    assert (ran.audit["command"], ran.audit["count"]) == ("log", 1)


@pytest.mark.timeout(90)
async def test_an_event_that_cannot_be_followed_has_its_id_all_the_same(
    environment: dict[str, str], emulators: Emulators, seeded: SeededEvents
) -> None:
    async with running_ingress(environment) as ingress, tcp_proxy(emulators.spanner_host) as proxy:
        await proxy.switch(Mode.BLACKHOLE)
        frozen = environment | {"SPANNER_EMULATOR_HOST": proxy.address}
        ran = await nest_events(frozen, "log", "--url", ingress.url, "--json")

    assert (ran.code, ran.json["state"]) == (3, None), ran.err
    assert ran.json["now"].startswith("Where it is now is not known: Spanner did not answer within 5 s")
    assert ran.json["event_id"] in await seeded.states()

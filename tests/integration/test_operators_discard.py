"""`nest-events dead-letters discard` closes what no replay could send, and nothing else."""

import pytest

from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import nest_events
from tests.support.sample_events import sample_event

pytestmark = pytest.mark.emulators


async def test_what_can_never_be_sent_is_discarded_and_nothing_else(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    dead = await seeded.log(1)
    await seeded.dead_letter(dead, "http_400")
    await seeded.publish_letters([sample_event()], "row_missing")
    await seeded.publish_poison(2)
    await seeded.collect()

    dry = (await nest_events(environment, "dead-letters", "discard", "--json")).json
    done = await nest_events(environment, "dead-letters", "discard", "--yes")
    left = await seeded.open_letters()

    assert (dry["never_to_be_sent"], dry["closed"]) == (3, 0)
    assert dry["by_reason"] == {"undecodable": 2, "row_missing": 1}
    assert "3 of 3 closed; left open, since a replay can send them: 1." in done.out
    assert (done.audit["command"], done.audit["count"]) == ("dead-letters discard", 3)
    assert [letter.subject for letter in left] == [dead[0].event_id]

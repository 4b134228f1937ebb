"""Fault rows of what poisoned events cost the others (F60): the same load without them and then with them."""

from dataclasses import replace
from typing import Final

from deploy.local.statsig_stand_in import read_log
from tests.faults.client import OK
from tests.faults.deliveries import events_per_second
from tests.faults.lab import Lab
from tests.faults.row import Expectations, Poisoned, Row
from tests.faults.rows_poison import (
    BAD,
    BURIED_SECONDS,
    REQUESTS_EACH,
    one_in_a_hundred_bad,
    others_until_buried,
    poisoning,
)
from tests.faults.rows_statsig import status

LEAST_RATIO: Final = 0.8
"""Of the good events' rate beside bad ones to their rate alone."""

PATIENCE_SECONDS: Final = 120.0


async def with_and_without(lab: Lab) -> None:
    await lab.until_sent(1.0)
    await lab.until_true(lab.settled, "the load without bad events settled", PATIENCE_SECONDS)
    await lab.client.run(replace(lab.load, event_name=one_in_a_hundred_bad), prefix="beside")
    await lab.until_true(lab.others_settled, "the good events settled", PATIENCE_SECONDS)
    await others_until_buried(lab)
    assert lab.stack.statsig_log is not None
    received = read_log(lab.stack.statsig_log)
    good = {event.event_id for event in (await lab.stored()).values() if event.event_name != BAD}
    of_the_second = {a.event_id for a in lab.client.attempts if a.code == OK and a.key.startswith("beside-")}
    alone = events_per_second(lab.client.attempts, received, good - of_the_second)
    beside = events_per_second(lab.client.attempts, received, good & of_the_second)
    ratio = beside / max(alone, 0.001)
    lab.note(f"good events at {beside:.0f}/s beside bad ones, at {alone:.0f}/s alone: {ratio:.2f}")
    lab.require(ratio >= LEAST_RATIO, f"good events at {ratio:.2f} of their rate, {LEAST_RATIO} asked for")


RATE_ROWS: Final = tuple(
    Row(
        id=f"F60{letter}",
        title=f"the rate beside one event in a hundred that {what}",
        fault=with_and_without,
        lasting=poisoning(behaviour),
        load_share=0.5,
        load_seconds=seconds,
        expect=Expectations(
            poisoned=Poisoned(reasons=frozenset({reason}), requests_each=REQUESTS_EACH), drain_seconds=BURIED_SECONDS
        ),
    )
    for letter, what, seconds, reason, behaviour in (
        ("a", "draws a 400", 5.0, "http_400", status(400)),
        ("b", "draws a 500", 5.0, "exhausted", status(500)),
        ("c", "has the connection reset", 5.0, "exhausted", {"kind": "reset"}),
        # What waits beside a hang is late by the seconds of its search, however long the load lasts.
        ("d", "makes Statsig hang", 20.0, "exhausted", {"kind": "hang"}),
    )
)

"""Fault rows of what poisoned events cost good ones (F60): the same load without them, then with them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from deploy.local.statsig_stand_in import read_log
from tests.faults.client import OK
from tests.faults.deliveries import events_per_second
from tests.faults.lab import Lab
from tests.faults.row import Expectations, Poisoned, Row, StandInRule
from tests.faults.rows_poison import (
    REQUESTS_EACH,
    TRIALS_SECONDS,
    one_in_a_hundred_bad,
    others_until_poisoned_settled,
    poisoning,
)
from tests.faults.rows_statsig import status

LEAST_RATIO: Final = 0.8
"""The least ratio of the good events' rate beside bad ones to their rate alone."""

ANSWER_SECONDS: Final = 0.1
"""The delay of a request, like that on the way to Statsig: without it a search would cost nothing here."""

PATIENCE_SECONDS: Final = 120.0


async def with_and_without(lab: Lab) -> None:
    await lab.until_sent(1.0)
    await lab.until_true(lab.settled, "the load without bad events settled", PATIENCE_SECONDS)
    await lab.client.run(replace(lab.load, event_name=one_in_a_hundred_bad), prefix="beside")
    await lab.until_true(lab.others_settled, "the good events settled", PATIENCE_SECONDS)
    beside, alone = good_per_second(lab, "beside-"), good_per_second(lab, "e-")
    ratio = beside / max(alone, 0.001)
    lab.note(f"good events at {beside:.0f}/s beside bad ones, at {alone:.0f}/s alone: {ratio:.2f}")
    lab.require(ratio >= LEAST_RATIO, f"good events at {ratio:.2f} of their rate, {LEAST_RATIO} asked for")
    await others_until_poisoned_settled(lab)


def good_per_second(lab: Lab, prefix: str) -> float:
    """The rate of the load whose keys begin with `prefix`. Statsig has only good events."""
    assert lab.stack.statsig_log is not None
    ours = {a.event_id for a in lab.client.attempts if a.code == OK and a.key.startswith(prefix)}
    return events_per_second(lab.client.attempts, read_log(lab.stack.statsig_log), ours)


def slowly(behaviour: Mapping[str, Any]) -> Callable[[int], tuple[StandInRule, ...]]:
    """The poisoning rule, and one that delays all other requests as well."""
    rules = (*poisoning(behaviour)(0), {"behaviour": {"kind": "slow", "delay_seconds": ANSWER_SECONDS}})
    return lambda _: rules


RATE_ROWS: Final = tuple(
    Row(
        id=f"F60{letter}",
        title=f"the rate beside one event in a hundred that {what}",
        fault=with_and_without,
        lasting=slowly(behaviour),
        # As deployed: how long a search delays others depends on both.
        settings={"LANES": "2", "BATCH_EVENTS": "500"},
        load_share=0.5,
        load_seconds=seconds,
        expect=Expectations(
            poisoned=Poisoned(reasons=frozenset({reason}), requests_each=REQUESTS_EACH), drain_seconds=TRIALS_SECONDS
        ),
    )
    for letter, what, seconds, reason, behaviour in (
        # 100 events a second: half of what the emulator commits, which takes one commit at a time. Beyond that the
        # ratio would measure the emulator, since a search makes commits of its own.
        ("a", "draws a 400", 10.0, "http_400", status(400, delay_seconds=ANSWER_SECONDS)),
        ("b", "draws a 500", 10.0, "exhausted", status(500, delay_seconds=ANSWER_SECONDS)),
        ("c", "has the connection reset", 10.0, "exhausted", {"kind": "reset"}),
        # Events beside a hang are late by the seconds of its search, however long the load lasts.
        ("d", "makes Statsig hang", 20.0, "exhausted", {"kind": "hang"}),
    )
)

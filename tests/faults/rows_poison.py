"""Fault rows of poisoned events, which Statsig never accepts, among good ones (F52 to F54)."""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.faults.client import Load
from tests.faults.lab import Lab
from tests.faults.row import Expectations, Fault, Poisoned, Row, StandInRule
from tests.faults.rows_statsig import status

BAD: Final = "poisoned"
GOOD: Final = "fault_lab"

THE_ONE: Final = 5
"""The number of the bad event in rows with a single one: early, so that most good ones follow."""

REQUESTS_EACH: Final = 15
"""Requests that may carry one bad event. A search takes three in a batch of 50, and starts again after it found another
bad event or the circuit opened; the row's three trials follow."""

FOUND_SECONDS: Final = 15.0
"""Seconds from the call to the delivery of a good event, where requests fail at once: a search, its backoff, and a
circuit that a few failures in a row opened may each take some seconds."""

FOUND_AMONG_HANGS_SECONDS: Final = 25.0
"""The same where each failing request of the search takes STATSIG_TIMEOUT_SECONDS or twice that."""

BURST_PER_SECOND: Final = 200.0
"""The rate of a caller whose events are all bad: that of a busy caller, within the ingress's capacity."""

BURST: Final = 0.2
"""The share of the run's events in a burst: four hundred by default."""

BURST_TO_TRY: Final = 0.1
"""The same for events that take three trials each, of which some six fit into a second."""

BURST_DELIVERED_SECONDS: Final = 20.0
"""FOUND_SECONDS beside a burst of bad events."""

OTHERS_PER_SECOND: Final = 4.0
"""The rate of good events while bad ones are tried: a few batches between two trials."""

TRIALS_SECONDS: Final = 300.0
"""The time of the trials of some hundred suspects, which take a fifth of a worker's time at most."""


def poisoning(behaviour: Mapping[str, Any]) -> Callable[[int], tuple[StandInRule, ...]]:
    """Rules that answer every request with a bad event so, from the start to the end."""
    rule = {"behaviour": behaviour, "events": {"name_contains": BAD}}
    return lambda _: (rule,)


def one_bad(number: int) -> str:
    return BAD if number == THE_ONE else GOOD


def one_in_a_hundred_bad(number: int) -> str:
    return BAD if number % 100 == 50 else GOOD


def all_bad(_: int) -> str:
    return BAD


async def everything_sent(lab: Lab) -> None:
    await lab.until_sent(1.0)
    await others_until_poisoned_settled(lab)


async def others_until_poisoned_settled(lab: Lab) -> None:
    """Sends a few good events until all bad ones are settled: without confirmations no event is dead-lettered."""
    give_up_at = time.monotonic() + TRIALS_SECONDS
    for number in itertools.count():
        if await lab.poisoned_settled() or time.monotonic() > give_up_at:
            return
        await lab.client.run(Load(events=2, per_second=OTHERS_PER_SECOND), prefix=f"other-{number}")


def a_burst_of_bad_ones(share: float) -> Fault:
    """One caller logs only bad events while others log good ones; then another one logs good ones."""

    async def fault(lab: Lab) -> None:
        bad = Load(events=lab.some(share), per_second=BURST_PER_SECOND, event_name=all_bad)
        await lab.client.run(bad, prefix="bad")
        await good_ones(lab)

    return fault


async def good_ones_after_bad_ones(lab: Lab) -> None:
    """Only bad events were sent before the first good one."""
    await lab.until_sent(1.0)
    await good_ones(lab)


async def good_ones(lab: Lab) -> None:
    await lab.client.run(Load(events=lab.some(0.3), per_second=BURST_PER_SECOND), prefix="good")
    await others_until_poisoned_settled(lab)


EXHAUSTED: Final = Poisoned(reasons=frozenset({"exhausted"}), requests_each=REQUESTS_EACH)
REFUSED_400: Final = Poisoned(reasons=frozenset({"http_400"}), requests_each=REQUESTS_EACH)

POISON_ROWS: Final = (
    *(
        Row(
            id=f"F52{letter}",
            title=f"one event {what}",
            fault=everything_sent,
            event_name=one_bad,
            lasting=poisoning(behaviour),
            expect=Expectations(
                poisoned=EXHAUSTED,
                delivered_within_seconds=seconds,
                duplicates_per_incident=None if behaviour.get("accept") else 0,
                drain_seconds=60,
            ),
        )
        for letter, what, seconds, behaviour in (
            ("a", "always draws a 500", FOUND_SECONDS, status(500)),
            ("b", "always has the connection reset", FOUND_SECONDS, {"kind": "reset"}),
            ("c", "always makes Statsig hang", FOUND_AMONG_HANGS_SECONDS, {"kind": "hang"}),
            ("d", "always draws a 500 and is kept", FOUND_SECONDS, status(500, accept=True)),
        )
    ),
    *(
        Row(
            id=f"F53{letter}",
            title=f"a burst of events that draw {code}, among good ones",
            fault=a_burst_of_bad_ones(share),
            lasting=poisoning(status(code)),
            load_share=0.5,
            expect=Expectations(
                poisoned=poisoned, delivered_within_seconds=BURST_DELIVERED_SECONDS, drain_seconds=TRIALS_SECONDS
            ),
        )
        for letter, code, poisoned, share in (("a", 400, REFUSED_400, BURST), ("c", 500, EXHAUSTED, BURST_TO_TRY))
    ),
    Row(
        id="F53b",
        title="nothing but events that draw 400, then good ones",
        fault=good_ones_after_bad_ones,
        event_name=all_bad,
        lasting=poisoning(status(400)),
        load_share=BURST,
        load_seconds=2.0,
        expect=Expectations(
            poisoned=REFUSED_400, delivered_within_seconds=BURST_DELIVERED_SECONDS, drain_seconds=TRIALS_SECONDS
        ),
    ),
    *(
        Row(
            id=f"F54{letter}",
            title=f"{code} for one event in a hundred",
            fault=everything_sent,
            event_name=one_in_a_hundred_bad,
            lasting=poisoning(status(code)),
            expect=Expectations(
                poisoned=Poisoned(reasons=frozenset({f"http_{code}"}), requests_each=REQUESTS_EACH),
                delivered_within_seconds=FOUND_SECONDS,
                drain_seconds=TRIALS_SECONDS,
            ),
        )
        for letter, code in (("a", 403), ("b", 404), ("c", 409), ("d", 422))
    ),
)

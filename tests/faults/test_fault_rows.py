"""A few rows of the fault matrix, with few events; `python -m tests.faults` runs them all."""

from pathlib import Path

import pytest

from deploy.local.emulators import Emulators
from shared.events.event import ANONYMOUS
from shared.events.event_ids import keyed_event_id
from tests.faults.client import key_of
from tests.faults.lasting import Poison
from tests.faults.row import Row
from tests.faults.rows import ROWS
from tests.faults.rows_adversary import ADVERSARY_ROWS
from tests.faults.run import BEFORE, RunOptions, run_row

# Longer than the lab's own timeouts, whose messages say more.
pytestmark = [pytest.mark.emulators, pytest.mark.processes, pytest.mark.timeout(120)]

QUICK = ("F2", "F11", "F19", "F31", "F35", "F36a", "F38", "F39", "F40a", "F43", "A1", "A2")
EVENTS = 150
SEEDS = {"A1": (7, 19), "A2": (19,)}
"""Seeds of the rows that differ with each; the others have one. In a quick look the adversary makes two acts, and with
these seeds kills no worker whose claims another one would wait for. The poisoned events must be among the first: later
calls may all fail where a busy machine takes long to start the ingress again."""

RUNS = [
    pytest.param(row, seed, id=f"{row.id}: {row.title}, seed {seed}")
    for row in ROWS
    if row.id in QUICK
    for seed in SEEDS.get(row.id, (1,))
]


@pytest.mark.parametrize(
    ("row", "seed"),
    [pytest.param(row, seed, id=f"{row.id}, seed {seed}") for row in ADVERSARY_ROWS for seed in SEEDS[row.id]],
)
def test_the_adversary_poisons_an_event_that_is_sent_before_it_breaks_anything(row: Row, seed: int) -> None:
    first = {
        keyed_event_id(ANONYMOUS, key_of(seed, number)): row.event_name(number)
        for number in range(int(BEFORE * EVENTS))
    }

    assert Poison.of(row, seed).among(first)


@pytest.mark.parametrize(("row", "seed"), RUNS)
async def test_nothing_is_lost_and_nothing_doubled_beyond_what_nobody_could_know(
    row: Row, seed: int, emulators: Emulators, tmp_path: Path
) -> None:
    options = RunOptions(events=EVENTS, quick=True)

    verdict = await run_row(row, seed=seed, emulators=emulators, run_dir=tmp_path, options=options)

    assert not verdict.breaches
    assert verdict.lost == 0

"""A few rows of the fault matrix, with few events; `python -m tests.faults` runs them all."""

from pathlib import Path

import pytest

from deploy.local.emulators import Emulators
from tests.faults.row import Row
from tests.faults.rows import ROWS
from tests.faults.run import RunOptions, run_row

# Longer than the lab's own timeouts, whose messages say more.
pytestmark = [pytest.mark.emulators, pytest.mark.processes, pytest.mark.timeout(120)]

QUICK = ("F2", "F11", "F19", "F31", "F35", "F36a", "F38", "F39", "F40a", "F43", "A1", "A2")
EVENTS = 150
SEEDS = {"A1": (6, 7), "A2": (6,)}
"""Seeds of the rows that differ with each; the others have one. In a quick look the adversary makes two acts, and with
these seeds kills no worker whose claims another one would wait for."""

RUNS = [
    pytest.param(row, seed, id=f"{row.id}: {row.title}, seed {seed}")
    for row in ROWS
    if row.id in QUICK
    for seed in SEEDS.get(row.id, (1,))
]


@pytest.mark.parametrize(("row", "seed"), RUNS)
async def test_nothing_is_lost_and_nothing_doubled_beyond_what_nobody_could_know(
    row: Row, seed: int, emulators: Emulators, tmp_path: Path
) -> None:
    options = RunOptions(events=EVENTS, quick=True)

    verdict = await run_row(row, seed=seed, emulators=emulators, run_dir=tmp_path, options=options)

    assert not verdict.breaches
    assert verdict.lost == 0

"""The files that a run writes."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from deploy.local.stack import REPOSITORY
from tests.bench.report import Run

FOLDER: Final = REPOSITORY / ".local" / "bench"
"""The default folder of the files; `make clean` removes it."""

DRAINED_GROWTH: Final = "drained_growth"
"""The figure of bench-growth for the bench's table of targets."""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_json(path: Path, run: Mapping[str, Any]) -> None:
    """Writes the run as JSON, with the time of its end."""
    ended_at = datetime.now(UTC).isoformat(timespec="seconds")
    write(path, json.dumps({"ended_at": ended_at, **run}, indent=1) + "\n")


def as_json(run: Run) -> dict[str, Any]:
    return {
        "seconds": round(run.seconds, 1),
        "machine": run.machine.as_json(),
        "options": {
            "rounds": run.options.rounds,
            "seconds": run.options.seconds,
            "backlog": run.options.backlog,
            "memory_seconds": run.options.memory_seconds,
            "ways": sorted(run.options.ways),
        },
        **run.results.as_json(),
        "targets": [
            {
                "measure": target.measure,
                "reached": reached,
                "sense": target.sense,
                "goal": target.goal,
                "unit": target.unit,
                "holds": None if reached is None else target.holds(reached),
            }
            for target, reached in run.targets()
        ],
    }


def drained_growth(path: Path) -> float | None:
    """The figure of the last run of bench-growth; None where there is none."""
    try:
        found = json.loads(path.read_text())[DRAINED_GROWTH]
    except FileNotFoundError:
        return None
    return None if found is None else float(found)

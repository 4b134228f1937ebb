"""Options that several commands share."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, for programs.")]
MaxReplays = Annotated[
    int, typer.Option("--max-replays", min=1, help="Quarantine events that were replayed this many times.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this option it is a dry run.")]

MAX_REPLAYS = 3
"""Replays of one event before it is quarantined: an event that fails that often is itself the problem."""

MIN_RATE, MAX_RATE, DEFAULT_RATE = 0.1, 10_000, 20.0
"""Events per second of a replay."""

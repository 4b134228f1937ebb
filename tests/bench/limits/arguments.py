"""The arguments of every limit's program: SECONDS, and the events of an operation."""

import argparse
from dataclasses import dataclass

DEFAULT_EVENTS = 64


@dataclass(frozen=True, slots=True)
class Arguments:
    seconds: float
    events: int
    in_flight: int


def arguments(description: str | None) -> Arguments:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--events", type=int, default=DEFAULT_EVENTS, help="of one operation")
    parser.add_argument("--in-flight", type=int, default=1, help="operations at once")
    chosen = parser.parse_args()
    return Arguments(chosen.seconds, chosen.events, chosen.in_flight)

"""Which rows must fail when a guard is off, and how a program is started without it."""

from collections.abc import Sequence
from typing import Final

ROWS_OF_GUARD: Final[dict[str, tuple[str, ...]]] = {
    "claim": ("F35",),
    "born_pending": ("F2",),
    "raise": ("F36c",),
    "ack_after_settle": ("F30a",),
}

_PROGRAM_OF: Final = {"claim": "worker", "born_pending": "ingress", "raise": "worker", "ack_after_settle": "worker"}


def arguments_without(guard: str) -> dict[str, Sequence[str]]:
    program = _PROGRAM_OF[guard]
    return {program: ("-m", "tests.faults.altered", guard, program)}

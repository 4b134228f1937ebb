"""The rows that must fail without a guard, and how a program is started without it."""

from collections.abc import Sequence
from typing import Final

ROWS_OF_GUARD: Final[dict[str, tuple[str, ...]]] = {
    "claim": ("F35",),
    "born_pending": ("F2",),
    "raise": ("F36c",),
    "ack_after_settle": ("F30a",),
    "count_unknowns": ("F55",),
    "give_up": ("F39b",),
    "step_aside": ("F53c",),
    "relative_guilt": ("F40b",),
    "mark_first": ("F58",),
    "backlog_position": ("F65",),
}

_OF_THE_INGRESS: Final = frozenset({"born_pending"})
"""Guards of the ingress; the others are the worker's."""


def arguments_without(guard: str) -> dict[str, Sequence[str]]:
    program = "ingress" if guard in _OF_THE_INGRESS else "worker"
    return {program: ("-m", "tests.faults.altered", guard, program)}

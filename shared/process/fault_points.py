"""Named points on an event's way at which a test can make the process exit, pause or raise.

Off unless FAULT_POINTS is set, and refused on Cloud Run. Its form is `POINT=ACTION[@HIT]`, several separated by commas:
`after_commit=exit@3,before_send=pause:20`. Without `@HIT` the action is taken at every hit of the point, with it only
at that one, counted from 1.

Actions: `exit` ends the process at once, as a kill or an OOM does; `pause:SECONDS` stops the whole process for a while,
as SIGSTOP or a frozen CPU does; `raise` raises InjectedFaultError.
"""

import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.errors import SettingsError
from shared.process.settings import CLOUD_RUN_VARIABLES

VARIABLE: Final = "FAULT_POINTS"

NAMES: Final = frozenset(
    {
        "after_commit",
        "after_publish",
        "after_pull",
        "after_claim",
        "before_send",
        "after_confirm",
        "after_settle",
        "after_dead_letter_publish",
        "after_collect",
        "reconciler_after_mark",
        "reconciler_after_publish",
        "replay_after_reopen",
        "replay_after_publish",
    }
)

EXIT_CODE: Final = 137
"""What a shell reports of a process killed by SIGKILL."""


class InjectedFaultError(Exception):
    """Raised at a fault point; not part of our error tree, as a bug would not be."""


@dataclass(frozen=True, slots=True)
class _Fault:
    action: str
    seconds: float
    hit: int | None


_enabled: dict[str, _Fault] = {}
_hits: Counter[str] = Counter()


def enable_fault_points(environment: Mapping[str, str]) -> None:
    """Turn on what FAULT_POINTS names; called once by an entry point.

    Raises:
        SettingsError: set on Cloud Run, or not of the form above.
    """
    _enabled.clear()
    _hits.clear()
    text = environment.get(VARIABLE, "")
    if not text:
        return
    if any(environment.get(name) for name in CLOUD_RUN_VARIABLES):
        raise SettingsError(f"{VARIABLE} must not be set on Cloud Run")
    for part in text.split(","):
        name, _, what = part.strip().partition("=")
        what, _, hit = what.partition("@")
        action, _, seconds = what.partition(":")
        if name not in NAMES or action not in ("exit", "pause", "raise"):
            raise SettingsError(f"{VARIABLE}: '{part}' names no fault point or no action")
        try:
            _enabled[name] = _Fault(action, float(seconds or 0), int(hit) if hit else None)
        except ValueError:
            raise SettingsError(f"{VARIABLE}: '{part}' has a number that is none") from None


def fault_point(name: str) -> None:
    """Take the action that a test asked for here, if any."""
    if not _enabled or (fault := _enabled.get(name)) is None:
        return
    _hits[name] += 1
    if fault.hit is not None and _hits[name] != fault.hit:
        return
    match fault.action:
        case "exit":
            os._exit(EXIT_CODE)
        case "pause":
            # Blocks the event loop on purpose: the whole process stands still.
            time.sleep(fault.seconds)
        case _:
            raise InjectedFaultError(name)

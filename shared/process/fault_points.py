"""Fault points: named points in the code at which a test can make the process exit, pause or raise.

Off unless FAULT_POINTS is set, and refused on Cloud Run. The variable holds `POINT=ACTION[@HIT]`, separated by commas:
`after_commit=exit@3,before_send=pause:20`. Without `@HIT` the action is taken at every hit of the point; with it only
at that hit, counted from 1.

Actions: `exit` ends the process at once, as a kill or an OOM does; `pause:SECONDS` blocks the event loop, and with it
the process, as SIGSTOP or a frozen CPU does; `raise` raises InjectedFaultError.
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
        "after_give_up",
        "after_dead_letter_publish",
        "after_collect",
        "reconciler_after_mark",
        "reconciler_after_publish",
        "replay_after_reopen",
        "replay_after_publish",
        "sweep_after_begin",
        "sweep_before_end",
        "forward_after_admit",
        "forward_after_publish",
        "erase_after_page",
    }
)

EXIT_CODE: Final = 137
"""The exit code that a shell reports for a process killed by SIGKILL."""


class InjectedFaultError(Exception):
    """Raised at a fault point. Like a bug, it is not an EventLoggingError."""


@dataclass(frozen=True, slots=True)
class _Fault:
    action: str
    seconds: float
    hit: int | None


_enabled: dict[str, _Fault] = {}
_hits: Counter[str] = Counter()


def enable_fault_points(environment: Mapping[str, str]) -> None:
    """Enable the fault points that FAULT_POINTS names, and no others. Entry points call this once.

    Raises:
        SettingsError: FAULT_POINTS is set on Cloud Run, or malformed.
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
            raise SettingsError(f"{VARIABLE}: '{part}' needs a number after : or @") from None


def fault_point(name: str) -> None:
    """Take the action that FAULT_POINTS has for this point, if any."""
    if not _enabled or (fault := _enabled.get(name)) is None:
        return
    _hits[name] += 1
    if fault.hit is not None and _hits[name] != fault.hit:
        return
    match fault.action:
        case "exit":
            os._exit(EXIT_CODE)
        case "pause":
            time.sleep(fault.seconds)  # blocks the event loop on purpose
        case _:
            raise InjectedFaultError(name)

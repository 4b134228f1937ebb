"""Ages and points in time as an operator types and reads them; pure."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.operators.exits import UsageError

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_SECONDS: Final = 100 * 365 * 86_400
"""What lies further back than this is before the year 1 sooner or later, where dates end."""

_AGE: Final = re.compile(r"([0-9]{1,9})([smhd])")

_SHOWN: Final = ((86_400, "d"), (3600, "h"), (60, "m"))


def parse_age(text: str) -> timedelta:
    """`90s`, `15m`, `24h` or `7d`.

    Raises:
        UsageError: anything else.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is not an age: write 90s, 15m, 24h or 7d")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > LONGEST_SECONDS:
        raise UsageError(f"'{text}' is longer than a hundred years")
    return timedelta(seconds=seconds)


def shown(age: timedelta) -> str:
    """In its two largest units: `2d 3h`, `5m`, `12s`."""
    seconds = max(0, int(age.total_seconds()))
    parts: list[str] = []
    for size, unit in _SHOWN:
        if seconds >= size:
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
    if not parts or (seconds and len(parts) == 1 and parts[0].endswith("m")):
        parts.append(f"{seconds}s")
    return " ".join(parts[:2])


def moment(at: datetime | None) -> str:
    """To the second, in UTC."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"

"""Ages (`90m`) and points in time, as operators type and read them; pure."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.operators.exit_codes import UsageError

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_SECONDS: Final = 100 * 365 * 86_400
"""The longest age that is accepted, a hundred years: a longer one may reach back before year 1, where dates begin."""

_AGE: Final = re.compile(r"([0-9]{1,9})([smhd])")

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
"""RFC 3339; the seconds and the offset may be left out."""

_SHOWN: Final = ((86_400, "d"), (3600, "h"), (60, "m"))


def parse_age(text: str) -> timedelta:
    """Parse an age: a whole number of s, m, h or d, such as `90s`, `15m`, `24h` or `7d`.

    Raises:
        UsageError: it is anything else, or longer than a hundred years.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is not an age: write 90s, 15m, 24h or 7d")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > LONGEST_SECONDS:
        raise UsageError(f"'{text}' is longer than a hundred years")
    return timedelta(seconds=seconds)


def parse_moment(text: str, *, now: datetime) -> datetime:
    """Parse an age, counted back from `now`, or a time: `2026-11-24T22:00Z`, `2026-11-24`, RFC 3339.

    A time without an offset is UTC; a date is its midnight. `now` must be aware. The result is aware, in UTC.

    Raises:
        UsageError: it is neither, or no date of the calendar.
    """
    typed = text.strip()
    if _AGE.fullmatch(typed):
        return now.astimezone(UTC) - parse_age(typed)
    if not (_DATE.fullmatch(typed) or _TIME.fullmatch(typed)):
        raise UsageError(
            f"'{text}' is neither an age (90s, 15m, 24h, 7d) nor a time (2026-11-24T22:00Z, 2026-11-24; UTC)"
        )
    try:
        at = datetime.fromisoformat(typed.upper())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"'{text}' is not a time in the calendar") from error


def shown(age: timedelta) -> str:
    """An age in its one or two largest units: `2d 3h`, `5m`, `12s`. A negative age is `0s`."""
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
    """A time to the second, in UTC; empty for None."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"

"""Points in time as integers: nanoseconds since the Unix epoch, UTC.

`datetime` ends at microseconds; Spanner, protobuf and this service keep nanoseconds.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

NANOS_PER_SECOND: Final = 1_000_000_000

EARLIEST_NANOS: Final = -62_135_596_800 * NANOS_PER_SECOND
"""0001-01-01T00:00:00Z, the earliest TIMESTAMP of Spanner."""

LATEST_NANOS: Final = 253_402_300_800 * NANOS_PER_SECOND - 1
"""9999-12-31T23:59:59.999999999Z, the latest TIMESTAMP of Spanner."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_SECONDS_LENGTH: Final = len("1970-01-01T00:00:00")
_OUR_FORM: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", re.ASCII)


def to_rfc3339(nanos: int) -> str:
    """Format with nine fractional digits and `Z`, as Spanner and proto JSON take it.

    Raises:
        OverflowError: outside EARLIEST_NANOS to LATEST_NANOS.
    """
    seconds, fraction = divmod(nanos, NANOS_PER_SECOND)
    return f"{_whole_seconds(seconds)}.{fraction:09d}Z"


@lru_cache(maxsize=16)  # most events are of now: a quarter of the time
def _whole_seconds(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:_SECONDS_LENGTH]


def from_rfc3339(text: str) -> int | None:
    """Nanoseconds of a text in exactly the form of `to_rfc3339`; None for any other text, valid RFC 3339 or not."""
    if not _OUR_FORM.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(f"{text[:_SECONDS_LENGTH]}+00:00")
    except ValueError:
        return None  # such as a thirteenth month
    return (moment - _EPOCH) // _SECOND * NANOS_PER_SECOND + int(text[_SECONDS_LENGTH + 1 : -1])


def from_datetime(moment: datetime) -> int:
    """Nanoseconds of an aware datetime.

    Spanner's client returns DatetimeWithNanoseconds, whose `nanosecond` holds all nine fractional digits.
    """
    whole = (moment - _EPOCH) // _SECOND
    nanosecond = getattr(moment, "nanosecond", 0) or moment.microsecond * 1000
    return whole * NANOS_PER_SECOND + nanosecond

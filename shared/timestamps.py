"""Points in time as integers of nanoseconds since the Unix epoch, UTC.

`datetime` stops at microseconds; Spanner, protobuf and this service keep nanoseconds.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

NANOS_PER_SECOND: Final = 1_000_000_000

EARLIEST_NANOS: Final = -62_135_596_800 * NANOS_PER_SECOND
"""0001-01-01T00:00:00Z, the earliest TIMESTAMP of Spanner."""

LATEST_NANOS: Final = 253_402_300_800 * NANOS_PER_SECOND - 1
"""9999-12-31T23:59:59.999999999Z, the latest TIMESTAMP of Spanner."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_rfc3339(nanos: int) -> str:
    """Format with nine digits and `Z`, the form that Spanner's wire takes.

    Raises:
        OverflowError: outside EARLIEST_NANOS to LATEST_NANOS.
    """
    seconds, fraction = divmod(nanos, NANOS_PER_SECOND)
    moment = _EPOCH + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z".rjust(30, "0")


def from_datetime(moment: datetime) -> int:
    """Nanoseconds of an aware datetime, those beyond the microsecond included where it carries them.

    Spanner's client returns DatetimeWithNanoseconds, whose `nanosecond` holds what `microsecond` cuts.
    """
    whole = (moment - _EPOCH) // timedelta(seconds=1)
    nanosecond = getattr(moment, "nanosecond", 0) or moment.microsecond * 1000
    return whole * NANOS_PER_SECOND + nanosecond

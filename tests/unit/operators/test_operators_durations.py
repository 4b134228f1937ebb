"""Ages and points in time, as operators type and read them."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.operators.exit_codes import UsageError
from worker.operators.terminal.durations import moment, parse_age, parse_moment, shown

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", datetime(2026, 11, 25, 11, 58, 30, tzinfo=UTC)),
        ("0s", NOW),
        (" 7d ", datetime(2026, 11, 18, 12, tzinfo=UTC)),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-24T22:00Z", datetime(2026, 11, 24, 22, tzinfo=UTC)),
        ("2026-11-24T22:00", datetime(2026, 11, 24, 22, tzinfo=UTC)),
        ("2026-11-24 22:00:05Z", datetime(2026, 11, 24, 22, 0, 5, tzinfo=UTC)),
        ("2026-11-24t22:00:00.5z", datetime(2026, 11, 24, 22, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-24T22:00:00+02:00", datetime(2026, 11, 24, 20, tzinfo=UTC)),
    ],
)
def test_ages_and_times_are_read(text: str, at: datetime) -> None:
    assert parse_moment(text, now=NOW) == at
    assert parse_moment(text, now=NOW).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "yesterday", "1y", "2026", "2026-W48", "20261124", "2026-11-24T22", "22:00", "1w", "-1h"]
)
def test_what_is_neither_is_told_with_examples_of_both(text: str) -> None:
    with pytest.raises(UsageError, match=r"neither an age \(90s.* nor a time \(2026-11-24T22:00Z"):
        parse_moment(text, now=NOW)


@pytest.mark.parametrize("text", ["2026-02-30", "2026-13-01", "2026-11-24T25:00Z", "0001-01-01T00:00:00+23:00"])
def test_a_time_of_no_calendar_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="not a time in the calendar"):
        parse_moment(text, now=NOW)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("24h", 86_400), (" 7d ", 604_800), ("0s", 0)]
)
def test_ages_are_read(text: str, seconds: int) -> None:
    assert parse_age(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "h", "1w", "-1h", "1h30m", "1.5h", "९h", "999999999999d"])
def test_what_is_no_age_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"write 90s, 15m, 24h or 7d|longer than a hundred"):
        parse_age(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h"), (90_061, "1d 1h"), (-5, "0s")]
)
def test_ages_are_shown_in_two_units(seconds: int, text: str) -> None:
    assert shown(timedelta(seconds=seconds)) == text


def test_a_moment_is_shown_in_utc_to_the_second() -> None:
    assert moment(datetime.fromisoformat("2026-03-04T05:06:07.9+02:00")) == "2026-03-04 03:06:07Z"
    assert moment(None) == ""

"""The attempt history: lines are read as they were written; one that cannot be read is kept and is no error."""

from datetime import UTC, datetime, timedelta, timezone

import hypothesis.strategies as st
import pytest
from hypothesis import given

from shared.events.attempt_history import KEPT_ENTRIES, HistoryEntry, HistoryKind, decode, encode, extended

AT = datetime(2026, 3, 4, 5, 6, 7, 891_011, UTC)
TIMED_OUT = HistoryEntry(HistoryKind.ATTEMPT, AT, "ambiguous", "timeout", None)

moments = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants it naive
words = st.from_regex(r"[a-z0-9_]{1,64}", fullmatch=True)
entries = st.one_of(
    st.builds(
        HistoryEntry,
        st.just(HistoryKind.ATTEMPT),
        moments,
        words,
        words,
        st.none() | st.integers(100, 599),
        st.none() | st.text(min_size=1),
    ),
    st.builds(HistoryEntry, st.sampled_from([HistoryKind.TAKE_OVER, HistoryKind.REPLAY]), moments),
)


def test_a_line_is_readable_as_it_is() -> None:
    rejected = HistoryEntry(HistoryKind.ATTEMPT, AT, "rejected", "http_400", 400)
    with_words = HistoryEntry(HistoryKind.ATTEMPT, AT, "rejected", "http_400", 400, "no such gate")

    assert encode([TIMED_OUT, rejected, with_words, HistoryEntry(HistoryKind.REPLAY, AT)]) == [
        "2026-03-04T05:06:07.891011Z attempt ambiguous timeout -",
        "2026-03-04T05:06:07.891011Z attempt rejected http_400 400",
        "2026-03-04T05:06:07.891011Z attempt rejected http_400 400 no such gate",
        "2026-03-04T05:06:07.891011Z replay",
    ]


@given(st.lists(entries))
def test_what_is_written_is_read_again(history: list[HistoryEntry]) -> None:
    assert decode(encode(history)) == tuple(history)


@given(st.lists(st.text(min_size=1)))
def test_any_text_is_read_and_written_again_as_it_is(lines: list[str]) -> None:
    assert encode(decode(lines)) == lines


@pytest.mark.parametrize(
    "line",
    [
        "2026-03-04T05:06:07Z quarantine by-hand",
        "2026-03-04T05:06:07Z attempt rejected http_400",
        "2026-03-04T05:06:07Z attempt rejected http_400 four",
        "2026-03-04T05:06:07Z attempt rejected http_400 400 ",
        "2026-03-04T05:06:07 replay",
        "2026-03-04T05:06:07Z unreadable",
        "yesterday replay",
        "2026-03-04T05:06:07Z",
    ],
)
def test_what_another_version_noted_is_kept_as_it_is(line: str) -> None:
    (entry,) = decode([line])

    assert entry == HistoryEntry(HistoryKind.UNREADABLE, None, text=line)
    assert encode([entry]) == [line]


@pytest.mark.parametrize("column", [None, [], [None]])
def test_a_row_without_a_history_has_an_empty_one(column: list[str | None] | None) -> None:
    assert decode(column) == ()


def test_times_are_written_in_utc() -> None:
    there = AT.astimezone(timezone(timedelta(hours=2)))

    assert encode([HistoryEntry(HistoryKind.REPLAY, there)]) == ["2026-03-04T05:06:07.891011Z replay"]


def test_the_last_entries_are_kept() -> None:
    history: tuple[HistoryEntry, ...] = ()
    for number in range(KEPT_ENTRIES + 3):
        history = extended(history, HistoryEntry(HistoryKind.REPLAY, AT + timedelta(seconds=number)))

    assert len(history) == KEPT_ENTRIES
    assert history[0].at == AT + timedelta(seconds=3)

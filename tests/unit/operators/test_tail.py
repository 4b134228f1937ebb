"""The pure part of `nest-events tail`: the window of a round, the state that is shown, and the bounded set."""

import json
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import ForwardState
from worker.operators.events import tail_lines
from worker.operators.events.tail_events import (
    LONGEST_WINDOW,
    Batch,
    LedgerEntry,
    TailChoice,
    TailedEvent,
    TailState,
    Watched,
    latest,
    next_window,
    state_of,
)
from worker.operators.events.tail_queries import count_query, rows_query

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def accepted(number: int) -> TailedEvent:
    return TailedEvent(AT + number * SECOND, "order_paid", None, TailState.PENDING, None, f"e{number}")


def delivered(number: int) -> LedgerEntry:
    return LedgerEntry("DELIVERED", AT + number * SECOND, "http_202")


PENDING = LedgerEntry("PENDING", None, None)


def test_a_window_goes_on_where_the_last_one_ended() -> None:
    window = next_window(AT, AT + SECOND)

    assert (window.begin, window.end, window.skipped) == (AT, AT + SECOND, timedelta(0))


def test_after_a_long_absence_the_latest_time_is_looked_at_and_the_rest_is_told() -> None:
    window = next_window(AT, AT + LONGEST_WINDOW + 7 * SECOND)

    assert (window.begin, window.skipped) == (AT + 7 * SECOND, 7 * SECOND)


def test_a_clock_that_steps_back_makes_an_empty_window() -> None:
    window = next_window(AT, AT - SECOND)

    assert (window.begin, window.end, window.skipped) == (AT, AT, timedelta(0))


@pytest.mark.parametrize(
    ("state", "forward", "shown"),
    [
        ("PENDING", True, TailState.PENDING),
        ("DELIVERED", False, TailState.DELIVERED),  # forwarded later
        ("DEAD", True, TailState.DEAD),
        (None, False, TailState.STORED_ONLY),
        (None, True, TailState.UNACCOUNTED),
        ("LOST", True, TailState.UNACCOUNTED),
    ],
)
def test_the_state_is_told_by_both_rows(state: str | None, forward: bool, shown: TailState) -> None:
    assert state_of(state, is_to_be_forwarded=forward) is shown


def test_of_more_than_fit_the_latest_are_shown_the_oldest_first() -> None:
    events = [accepted(number) for number in (3, 1, 2, 4)]

    assert latest(events, 3) == ((accepted(2), accepted(3), accepted(4)), 1)
    assert latest(events, 4)[1] == 0


def test_each_delivery_is_told_once_with_its_time_and_reason() -> None:
    watched = Watched()
    assert watched.ids_with([accepted(1), accepted(2)]) == ["e1", "e2"]
    first = watched.settle([accepted(1), accepted(2)], {"e1": PENDING, "e2": delivered(5)}, after=AT)
    assert watched.ids_with([accepted(3)]) == ["e1", "e3"]
    second = watched.settle([accepted(3)], {"e1": delivered(7), "e3": delivered(6)}, after=AT)

    assert first == (
        [TailedEvent(AT + 5 * SECOND, "order_paid", None, TailState.DELIVERED, "http_202", "e2")],
        0,
    )
    assert [event.event_id for event in second[0]] == ["e3", "e1"]
    assert watched.ids_with([]) == []


def test_what_is_dead_or_gone_is_watched_no_more() -> None:
    watched = Watched()

    found = watched.settle([accepted(1), accepted(2)], {"e1": LedgerEntry("DEAD", AT, "http_400")}, after=AT)

    assert found == ([], 0)
    assert watched.ids_with([]) == []


def test_what_was_delivered_before_the_tail_began_is_not_told() -> None:
    assert Watched().settle([accepted(1)], {"e1": delivered(2)}, after=AT + 2 * SECOND) == ([], 0)


def test_a_full_set_gives_up_the_oldest_and_says_how_many() -> None:
    watched = Watched(limit=2)
    pending = {f"e{number}": PENDING for number in range(4)}

    first = watched.settle([accepted(0), accepted(1)], pending, after=AT)
    second = watched.settle([accepted(2), accepted(3)], pending | {"e3": delivered(9)}, after=AT)

    assert first == ([], 0)
    assert ([event.event_id for event in second[0]], second[1]) == (["e3"], 1)
    assert watched.ids_with([]) == ["e1", "e2"]


@pytest.mark.parametrize("state", [None, *ForwardState])
@pytest.mark.parametrize("name", [None, "order_paid"])
def test_every_query_is_bounded_by_an_index_on_time_and_joins_by_key(
    state: ForwardState | None, name: str | None
) -> None:
    choice = TailChoice(state=state, event_name=name)

    for query in (rows_query(choice), count_query(choice)):
        assert query.count("FORCE_INDEX=") == 1
        assert query.count("> @begin") == query.count("<= @end") == 1
        assert not re.findall(r"\bJOIN\b(?!@\{JOIN_METHOD=APPLY_JOIN\})", query)
    assert rows_query(choice).count("LIMIT @limit") == 1


AWAY = StorageUnavailableError("Spanner did not answer")
EMPTY = Batch(events=(), until=AT)
FULL = Batch(
    events=(accepted(1), accepted(2)), until=AT, left_out=1234, skipped=timedelta(minutes=90), unwatched=5_000_000
)


async def told(monkeypatch: pytest.MonkeyPatch, *rounds: Batch | Exception, as_json: bool = False) -> None:
    """Run the command over these rounds, until nobody asks for more."""
    left = list(rounds)
    with anyio.CancelScope() as scope:

        class Scripted:
            async def next(self) -> Batch:
                found = left.pop(0)
                if not left:
                    scope.cancel()
                if isinstance(found, Exception):
                    raise found
                return found

        monkeypatch.setattr(tail_lines, "Tail", lambda *_, **__: Scripted())
        monkeypatch.setattr(tail_lines, "check_reader", lambda: None)
        monkeypatch.setattr(tail_lines, "explained", lambda error, _: str(error))
        connections: Any = SimpleNamespace(database=None, settings=SimpleNamespace(forward_shards=32))
        await tail_lines.tail_events(connections, choice=TailChoice(), interval=0, as_json=as_json)


async def test_an_absence_of_spanner_is_told_once_however_long_it_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await told(monkeypatch, EMPTY, AWAY, AWAY, AWAY, EMPTY, EMPTY, AWAY, EMPTY)

    assert (
        capsys.readouterr().err.splitlines()
        == [
            "Spanner did not answer; goes on when it is back",
            "Spanner is back",
        ]
        * 2
    )


async def test_what_is_not_shown_is_told_beside_the_events(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await told(monkeypatch, EMPTY, FULL)

    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "… 1h 30m not looked at: see `nest-events trace --event-name` for it",
        "… 5,000,000 more are awaited: their delivery will not be shown",
        "… 1,234 more",
    ]
    assert out.splitlines()[1:] == [
        "2026-03-04 05:06:08Z\torder_paid\t\tPENDING\t\te1",
        "2026-03-04 05:06:09Z\torder_paid\t\tPENDING\t\te2",
    ]


async def test_json_lines_tell_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    await told(monkeypatch, EMPTY, AWAY, FULL, as_json=True)

    out, err = capsys.readouterr()
    documents = [json.loads(line) for line in out.splitlines()]
    assert [each.get("notice") for each in documents] == [
        "unavailable", "available", "skipped", "unwatched", "left_out", None, None,
    ]  # fmt: skip
    assert [each["events"] for each in documents[3:5]] == [5_000_000, 1234]
    assert (documents[2]["seconds"], documents[5]["event_id"], err) == (5400.0, "e1", "")

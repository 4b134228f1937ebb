"""Where bars stand, what a story tells, and how often a question is asked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from google.api_core.datetime_helpers import DatetimeWithNanoseconds

from shared.events.accounting import HourlyAccount
from shared.events.attempt_history import HistoryEntry, HistoryKind
from shared.events.forward_ledger import ForwardState
from worker.operators.console.charts import HEIGHT, LEAST, account_chart, rounded_up, shares
from worker.operators.console.kept import REST, Keeper
from worker.operators.console.story import BAD, GOOD, steps
from worker.operators.events.records import Record
from worker.operators.events.trace import trace_document

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hour(ago: int, accepted: int, delivered: int, pending: int = 0, dead: int = 0) -> HourlyAccount:
    return HourlyAccount(
        datetime(2026, 3, 4, 5, tzinfo=UTC) - ago * HOUR,
        accepted,
        delivered,
        pending,
        dead,
        forwarded_later=0,
        possible_duplicates=0,
    )


def test_every_hour_has_its_place_also_one_without_events() -> None:
    chart = account_chart([hour(3, 40, 40), hour(0, 80, 80)], until=AT, count=4)

    assert [(bar.position, bar.hour.hour, bar.accepted) for bar in chart.bars] == [
        (0, 2, 40), (1, 3, 0), (2, 4, 0), (3, 5, 80),
    ]  # fmt: skip
    assert (chart.most, chart.totals["accepted"]) == (100, 120)
    assert [part.height for bar in chart.bars for part in bar.parts] == [40.0, 80.0]


def test_the_time_of_the_spanner_client_will_do() -> None:
    until = DatetimeWithNanoseconds(2026, 3, 4, 5, 6, 7, nanosecond=123_456_789, tzinfo=UTC)

    assert account_chart([], until=until, count=2).bars[1].hour == datetime(2026, 3, 4, 5, tzinfo=UTC)


def test_one_dead_event_among_a_million_is_seen_and_the_bar_does_not_grow_out_of_the_chart() -> None:
    chart = account_chart([hour(0, 1_000_000, 999_998, dead=1)], until=AT, count=1)

    (bar,) = chart.bars
    assert {part.state: part.events for part in bar.parts} == {"delivered": 999_998, "dead": 1, "unaccounted": 1}
    assert [part.height for part in bar.parts] == [HEIGHT - 2 * LEAST, LEAST, LEAST]
    assert bar.parts[-1].y == 0.0
    assert (bar.events_in("dead"), bar.events_in("pending")) == (1, 0)


@pytest.mark.parametrize(("value", "most"), [(0, 1), (1, 1), (2, 2), (3, 5), (6, 10), (10, 10), (11, 20), (501, 1000)])
def test_a_chart_ends_at_a_round_number(value: int, most: int) -> None:
    assert rounded_up(value) == most


def test_shares_show_the_largest_and_sum_up_the_rest() -> None:
    rows, others, events = shares({"a": 1, "b": 1000, "c": 3, "d": 2}, most=2)

    assert [(row.name, row.events, row.width) for row in rows] == [("b", 1000, 100.0), ("c", 3, 1.0)]
    assert (others, events) == (2, 3)
    assert shares({}) == ([], 0, 0)


def record(**fields: Any) -> Record:
    values: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__)
    usual = {"event_id": "e", "event_name": "n", "ingested_at": AT, "forward_to_statsig": True, "read_at": AT + HOUR}
    return Record(**values | usual | {"history": (), "attempts": 0, "replays": 0, "possible_duplicates": 0} | fields)


def test_a_story_is_told_in_the_order_of_time() -> None:
    history = (
        HistoryEntry(HistoryKind.ATTEMPT, AT + HOUR / 4, "ambiguous", "http_503", 503),
        HistoryEntry(HistoryKind.TAKE_OVER, AT + HOUR / 3, None, None, None),
        HistoryEntry(HistoryKind.ATTEMPT, AT + HOUR / 2, "confirmed", "http_202", 202),
    )
    told = steps(
        trace_document(
            record(
                state=ForwardState.DELIVERED, history=history, attempts=2, settled_at=AT + HOUR, last_reason="http_202",
                republished_at=AT + HOUR / 3.5, caller="a@example.com",
            ),
            [],
        )
    )  # fmt: skip

    assert [each.title for each in told] == [
        "Accepted", "Published", "Attempt: ambiguous", "Published again", "Take-over", "Attempt: confirmed",
        "Delivered",
    ]  # fmt: skip
    assert (told[0].detail, told[1].at, told[-1].tone, told[2].detail) == (
        "from a@example.com", None, GOOD, "http_503",
    )  # fmt: skip
    assert "its worker may or may not have sent the event" in told[4].detail


def test_a_dead_event_ends_badly_and_a_stored_one_was_never_published() -> None:
    dead = steps(trace_document(record(state=ForwardState.DEAD, settled_at=AT + HOUR), []))
    stored = steps(trace_document(record(forward_to_statsig=False), []))

    assert (dead[-1].title, dead[-1].tone, dead[-1].detail) == ("Dead", BAD, "with no reason noted")
    assert [(each.title, each.detail) for each in stored][1:] == [("Published", "never: it was not to be forwarded")]


async def test_a_question_is_asked_once_at_a_time_and_its_answer_kept() -> None:
    asked, may_answer = 0, anyio.Event()

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await may_answer.wait()
        return asked

    async with anyio.create_task_group() as tasks:
        keeper = Keeper(tasks, ask, seconds=60)
        assert await keeper.latest(wait_seconds=0.01) is None
        assert await keeper.latest(wait_seconds=0.01) is None
        may_answer.set()
        first = await keeper.latest(wait_seconds=5)
        again = await keeper.latest(wait_seconds=5)

    assert first is not None
    assert (first.value, again, asked) == (1, first, 1)


async def test_an_old_answer_is_given_while_a_new_one_takes_its_time() -> None:
    asked, may_answer = 0, anyio.Event()

    async def ask() -> int:
        nonlocal asked
        asked += 1
        if asked > 1:
            await may_answer.wait()
        return asked

    async with anyio.create_task_group() as tasks:
        keeper = Keeper(tasks, ask, seconds=0)
        first = await keeper.latest(wait_seconds=5)
        assert first is not None
        await anyio.sleep(REST * first.took_seconds)
        old = await keeper.latest(wait_seconds=0.01)
        may_answer.set()
        new = await keeper.latest(wait_seconds=5)

    assert old is not None
    assert new is not None
    assert (old.value, new.value) == (1, 2)

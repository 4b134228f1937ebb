"""What is typed into a page means what it means to the commands, and nothing more."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.datastructures import QueryParams

from shared.events.rules import Match
from worker.operators.console.forms import filters_in, selection_of, wish_of
from worker.operators.console.pending import chosen
from worker.operators.console.replay import as_it_was_seen
from worker.operators.dead_letters.selection import Selection
from worker.operators.exit_codes import UsageError
from worker.operators.state.pending import PendingEvent

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
ID = "6cf56cc8-4ae1-4405-bc63-97157a1b5c23"


def typed(*pairs: tuple[str, str], **fields: str) -> QueryParams:
    return QueryParams([*pairs, *fields.items()])


def test_filters_are_those_of_the_command() -> None:
    query = typed(("reason", "http_400"), ("reason", " native "), ("reason", ""), event_name="a", older_than="1h")

    assert selection_of(query, now=NOW) == Selection(
        reasons=frozenset({"http_400", "native"}), event_names=frozenset({"a"}), dead_until=NOW - HOUR
    )
    assert selection_of(typed(), now=NOW) == Selection()
    assert selection_of(typed(event_id=ID.upper()), now=NOW).ids == frozenset({ID})


def test_a_page_cannot_name_a_file_of_this_machine() -> None:
    assert selection_of(typed(ids_from="/etc/passwd"), now=NOW) == Selection()


@pytest.mark.parametrize(
    "query", [typed(event_id="x"), typed(older_than="soon"), typed(older_than="2h", younger_than="1h")]
)
def test_what_the_command_refuses_is_refused(query: QueryParams) -> None:
    with pytest.raises(UsageError):
        selection_of(query, now=NOW)


def test_a_wish_has_the_commands_defaults() -> None:
    wish = wish_of(typed(limit="", rate=""), now=NOW)

    assert (wish.limit, wish.rate, wish.max_replays, wish.from_rows) == (None, 20.0, 3, False)


def test_a_wish_is_what_was_typed() -> None:
    wish = wish_of(typed(limit="10", rate="0.5", max_replays="5", from_rows="1"), now=NOW)

    assert (wish.limit, wish.rate, wish.max_replays, wish.from_rows) == (10, 0.5, 5, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("limit", each) for each in ("0", "-1", "1.5", "x", "nan")),
        *(("rate", each) for each in ("0", "0.09", "10001", "nan", "inf", "x")),
        *(("max_replays", each) for each in ("0", "x")),
    ],
)
def test_numbers_out_of_the_commands_bounds_are_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError):
        wish_of(typed((name, value)), now=NOW)


def test_a_confirmation_means_the_events_that_were_shown() -> None:
    later = wish_of(typed(), now=NOW)
    older = wish_of(typed(older_than="1h"), now=NOW)

    assert as_it_was_seen(later, NOW).choice.dead_until == NOW
    assert as_it_was_seen(older, NOW).choice.dead_until == NOW - HOUR


def test_only_the_fields_of_a_page_are_repeated() -> None:
    query = typed(("reason", "a"), ("reason", "b"), ("form_token", "t"), ("caller", " "))

    assert filters_in(query, {"reason": "", "caller": ""}) == [("reason", "a"), ("reason", "b")]


def pending(event_id: str, **fields: Any) -> PendingEvent:
    usual: dict[str, Any] = {
        "pending_since": NOW, "event_name": "a", "event_type": None, "caller": None, "reason": None,
        "last_attempt_at": None, "is_set_aside": False, "is_in_flight": False,
    }  # fmt: skip
    return PendingEvent(event_id, **usual | fields)


PENDING = [
    pending("0"),
    pending("1", reason="http_503", caller="c@example.com"),
    pending("2", reason="http_503", is_set_aside=True),
    pending("3", event_name="b", is_in_flight=True),
    pending("4", event_name="held", caller="h@example.com", reason="http_429"),
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (typed(), "01234"),
        (typed(reason="http_503"), "12"),
        (typed(reason="not tried yet"), "03"),
        (typed(caller="(no caller)"), "023"),
        (typed(caller="c@example.com", reason="http_503"), "1"),
        (typed(event_name="b"), "3"),
        (typed(waiting="set aside"), "2"),
        (typed(waiting="in flight"), "3"),
        (typed(waiting="waiting"), "01"),
        (typed(waiting="held by a rule"), "4"),
        (typed(reason="http"), ""),
    ],
    ids=str,
)
def test_pending_events_have_every_value_that_is_asked_for(query: QueryParams, found: str) -> None:
    assert "".join(each.event_id for each in chosen(PENDING, query, [Match(event_name="held")])) == found

"""The rules of every field but metadata and idempotency keys."""

from datetime import UTC, datetime

import pytest
from protobuf.wkt import Timestamp

from ingress.normalization import Defaults
from shared.errors import InvalidEventError
from shared.events.timestamps import NANOS_PER_SECOND
from tests.support.sample_events import ASTRAL, NOW
from tests.support.sample_requests import DEFAULTS, normalize, sample_request, violations

DAY = 24 * 3600 * NANOS_PER_SECOND
FORWARDED_NAME_RULE = [("event_name", "statsig_name")]
NOT_FORWARDED = Defaults(forward_to_statsig=False, max_metadata_bytes=65_536)


def test_stores_what_was_sent() -> None:
    row = normalize(
        sample_request({"total": 12.5}, event_type="billing", actor_id="user-1", event_ts=Timestamp(seconds=7))
    )

    event = row.event
    assert (event.event_name, event.event_type, event.actor_id) == ("order_paid", "billing", "user-1")
    assert event.event_ts_nanos == 7 * NANOS_PER_SECOND
    assert event.metadata == {"total": 12.5}


def test_trims_unicode_white_space_around_every_string() -> None:
    space = " \t\r\n\u00a0\u2003\u3000\u2029\x85"
    row = normalize(
        sample_request(None, **dict.fromkeys(("event_name", "event_type", "actor_id"), f"{space}a b{space}"))
    )

    assert (row.event.event_name, row.event.event_type, row.event.actor_id) == ("a b", "a b", "a b")


@pytest.mark.parametrize("blank", ["", " ", "\u2003\u3000\t\n"])
def test_refuses_a_blank_name(blank: str) -> None:
    assert violations(sample_request(event_name=blank)) == [("event_name", "required")]


@pytest.mark.parametrize(
    "name",
    [
        "\u200b",
        "\u200b \ufeff\u2060",
        "\u00ad\u034f\u061c\u115f\u17b4\u180e\u200d\u202e\u206f\u3164\ufe0f\uffa0",
        "\u2800",
        "\U000e0041\U000e0100",
    ],
    ids=ascii,
)
def test_refuses_a_name_that_shows_as_nothing(name: str) -> None:
    assert violations(sample_request(event_name=name)) == [("event_name", "required")]
    assert violations(sample_request(event_name=f"{name}a{name}")) == []


@pytest.mark.parametrize("blank", ["", " ", "\u2003"])
def test_a_blank_type_or_actor_becomes_null(blank: str) -> None:
    row = normalize(sample_request(event_type=blank, actor_id=blank))

    assert (row.event.event_type, row.event.actor_id) == (None, None)


@pytest.mark.parametrize("character", ["a", "é", ASTRAL])
@pytest.mark.parametrize(
    ("field", "limit"), [("event_name", 256), ("event_type", 128), ("actor_id", 256), ("idempotency_key", 128)]
)
def test_limits_count_code_points_after_trimming(field: str, limit: int, character: str) -> None:
    assert violations(sample_request(None, **{field: f"  {character * limit}\n"})) == []
    assert violations(sample_request(None, **{field: f"  {character * (limit + 1)}\n"})) == [(field, "max_length")]


@pytest.mark.parametrize("field", ["event_name", "event_type", "actor_id", "idempotency_key"])
@pytest.mark.parametrize("character", ["\x00", "\x01", "\x1b", "\x1f", "\x7f", "\n", "\r", "\x80", "\x85", "\x9f"])
def test_refuses_control_characters(field: str, character: str) -> None:
    assert (field, "no_control_characters") in violations(sample_request(None, **{field: f"a{character}b"}))


@pytest.mark.parametrize("name", ["a\x00", "a\nb", "\r\x00a"], ids=ascii)
def test_a_control_character_breaks_one_rule_and_not_that_of_statsig_too(name: str) -> None:
    name = f"x{name}x"

    assert violations(sample_request(event_name=name)) == [("event_name", "no_control_characters")]


@pytest.mark.parametrize("name", ["order paid", "注文", "a\u200bb", "\u202eabc", "e\u0301", "it's", 'say "x"', ASTRAL])
def test_accepts_any_other_name_unchanged(name: str) -> None:
    assert normalize(sample_request(event_name=name)).event.event_name == name


@pytest.mark.parametrize("character", list("\\[]{}<>#=;&$%|"))
def test_refuses_a_name_that_statsig_drops_only_where_it_is_to_be_forwarded(character: str) -> None:
    name = f"a{character}b"

    assert violations(sample_request(event_name=name)) == FORWARDED_NAME_RULE
    assert (
        violations(sample_request(event_name=name, forward_to_statsig=True), defaults=NOT_FORWARDED)
        == FORWARDED_NAME_RULE
    )
    assert violations(sample_request(event_name=name, forward_to_statsig=False)) == []
    assert violations(sample_request(event_name=name), defaults=NOT_FORWARDED) == []


@pytest.mark.parametrize("default", [True, False])
def test_forwarding_is_the_requests_value_else_the_default(default: bool) -> None:
    defaults = Defaults(forward_to_statsig=default, max_metadata_bytes=100)

    assert normalize(sample_request(), defaults=defaults).forward_to_statsig is default
    for asked in (True, False):
        assert normalize(sample_request(forward_to_statsig=asked), defaults=defaults).forward_to_statsig is asked


def test_the_time_of_an_event_defaults_to_now() -> None:
    assert normalize(sample_request()).event.event_ts_nanos == NOW


def test_keeps_nanoseconds() -> None:
    row = normalize(sample_request(event_ts=Timestamp(seconds=1_700_000_000, nanos=123_456_789)))

    assert row.event.event_ts_nanos == 1_700_000_000_123_456_789


@pytest.mark.parametrize(
    ("beyond", "broken"),
    [(-1, []), (0, []), (1, [("event_ts", "not_in_future")]), (DAY, [("event_ts", "not_in_future")])],
)
def test_accepts_a_time_up_to_24_hours_ahead(beyond: int, broken: list[tuple[str, str]]) -> None:
    assert violations(sample_request(event_ts=Timestamp.from_nanos(NOW + DAY + beyond))) == broken


FIRST = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
OUT_OF_RANGE = [("event_ts", "range")]


@pytest.mark.parametrize(
    ("seconds", "nanos", "broken"),
    [
        (FIRST, 0, []),
        (0, 0, []),
        (-1, 999_999_999, []),
        (FIRST - 1, 999_999_999, OUT_OF_RANGE),
        (LAST, 999_999_999, [("event_ts", "not_in_future")]),
        (LAST + 1, 0, OUT_OF_RANGE),
        (2**63 - 1, 0, OUT_OF_RANGE),
        (-(2**63), 0, OUT_OF_RANGE),
        (0, -1, OUT_OF_RANGE),
        (0, 1_000_000_000, OUT_OF_RANGE),
        (0, 2**31 - 1, OUT_OF_RANGE),
        (FIRST, -1, OUT_OF_RANGE),
    ],
)
def test_accepts_times_within_the_years_0001_to_9999(seconds: int, nanos: int, broken: list[tuple[str, str]]) -> None:
    assert violations(sample_request(event_ts=Timestamp(seconds=seconds, nanos=nanos))) == broken


@pytest.mark.parametrize(("nanos", "words"), [(-1, "nanos"), (1_000_000_000, "nanos"), (0, "years 0001 to 9999")])
def test_says_what_is_wrong_with_a_time(nanos: int, words: str) -> None:
    with pytest.raises(InvalidEventError, match=words):
        normalize(sample_request(event_ts=Timestamp(seconds=5 if nanos else FIRST - 1, nanos=nanos)))


def test_the_last_nanosecond_of_9999_is_accepted_when_it_is_near() -> None:
    last = LAST * NANOS_PER_SECOND + 999_999_999
    row = normalize(sample_request(event_ts=Timestamp(seconds=LAST, nanos=999_999_999)), now=last - DAY)

    assert row.event.event_ts_nanos == last


def test_reports_every_broken_rule_at_once() -> None:
    request = sample_request(
        {"_eventLog": 1, "deep": "\x00"},
        event_name=" ",
        event_type="t" * 129,
        actor_id="a\x00",
        idempotency_key="k" * 129,
        event_ts=Timestamp(seconds=LAST + 1),
    )

    assert set(violations(request)) == {
        ("event_name", "required"),
        ("event_type", "max_length"),
        ("actor_id", "no_control_characters"),
        ("idempotency_key", "max_length"),
        ("event_ts", "range"),
        ("metadata._eventLog", "reserved"),
        ("metadata", "no_nul"),
    }


def test_two_broken_rules_of_one_field_are_both_reported() -> None:
    assert violations(sample_request(event_name="n;\x01" + "x" * 256)) == [
        ("event_name", "max_length"),
        ("event_name", "no_control_characters"),
        ("event_name", "statsig_name"),
    ]


def test_violations_never_contain_a_value() -> None:
    canary = "canary-7d1d0f3c"
    request = sample_request(
        {"_eventLog": canary, canary: "\x00" + canary * 6000},
        event_name=f"{canary};\x01" + "x" * 256,
        event_type=canary * 20,
        actor_id=canary * 20,
        idempotency_key=canary * 20,
    )

    with pytest.raises(InvalidEventError) as caught:
        normalize(request, defaults=DEFAULTS)

    assert len(caught.value.violations) == 9
    assert canary not in str(caught.value)
    assert canary not in repr(caught.value.violations)

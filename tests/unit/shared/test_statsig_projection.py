"""What Statsig keeps of an event, and what the caller is told of the rest."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events.event import Event
from shared.events.statsig_projection import StatsigEvent, is_dropped_name, project
from tests.support.events import ASTRAL, EVENT_ID, NOW, event, events, hostile_text

OBJECT_LIMIT = 4096
STRING_LIMIT = 64


def units(text: str) -> int:
    """JavaScript's length of a string."""
    return len(text.encode("utf-16-le")) // 2


def compact_units(metadata: dict[str, str]) -> int:
    """The length of the stringified object, as JavaScript's `JSON.stringify` writes it."""
    return units(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")))


def losses(projected: Event) -> list[tuple[str, str]]:
    return [(loss.field, loss.reason) for loss in project(projected).losses]


def test_carries_the_event_as_strings() -> None:
    given = event(
        {"s": "text", "i": 3, "f": 1.5, "t": True, "n": None, "l": [1, "a"], "o": {"b": 1, "a": 2}},
        event_type="billing",
        actor_id="user-1",
    )

    projected = project(given)

    assert projected.losses == ()
    assert projected.event == StatsigEvent(
        event_id=EVENT_ID,
        name="order_paid",
        value=None,
        metadata={
            "event_id": EVENT_ID,
            "event_type": "billing",
            "actor_id": "user-1",
            "s": "text",
            "i": "3",
            "f": "1.5",
            "t": "true",
            "n": "null",
            "l": '[1,"a"]',
            "o": '{"a":2,"b":1}',
        },
        time_ms=NOW // 1_000_000,
    )


def test_leaves_out_what_the_event_does_not_have() -> None:
    assert project(event()).event.metadata == {"event_id": EVENT_ID}


@pytest.mark.parametrize(("nanos", "milliseconds"), [(-1, -1), (999_999, 0), (1_000_000, 1), (-1_000_001, -2)])
def test_time_is_floored_to_milliseconds(nanos: int, milliseconds: int) -> None:
    assert project(event(event_ts_nanos=nanos)).event.time_ms == milliseconds


@pytest.mark.parametrize("character", [*"\\[]{}<>#=;&$%|", "\x00", "\r", "\n"])
def test_a_name_that_statsig_drops_is_told(character: str) -> None:
    name = f"a{character}b"

    assert is_dropped_name(name)
    assert losses(event(event_name=name)) == [("event_name", "statsig_name_dropped")]


@pytest.mark.parametrize("name", ["order_paid", "order paid", "a.b:c/d-e+f", "(x)!?*^~`'\"@,", "注文", ASTRAL])
def test_any_other_name_is_kept(name: str) -> None:
    assert not is_dropped_name(name)
    assert project(event(event_name=name)).event.name == name


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 64),
        (ASTRAL * 32, ASTRAL * 32),
        (ASTRAL * 33, ASTRAL * 32),
        ("x" + ASTRAL * 32, "x" + ASTRAL * 31),
    ],
)
def test_a_name_is_cut_at_64_utf16_units_and_never_inside_a_character(name: str, kept: str) -> None:
    projection = project(event(event_name=name))

    assert projection.event.name == kept
    assert ("event_name", "statsig_name_cut") in losses(event(event_name=name)) or name == kept


@pytest.mark.parametrize("value", [0, 3, -1.5, 1e300, "", "green", "x" * 64])
def test_a_number_or_string_named_value_becomes_the_value(value: Any) -> None:
    projection = project(event({"value": value}))

    assert projection.event.value == value
    assert projection.losses == ()
    assert "value" in projection.event.metadata


@pytest.mark.parametrize("value", [True, False, None, [1], {"a": 1}])
def test_any_other_value_stays_metadata(value: Any) -> None:
    projection = project(event({"value": value}))

    assert projection.event.value is None
    assert projection.event.metadata["value"] == json.dumps(value, separators=(",", ":"))


def test_a_long_string_value_is_cut_and_survives_in_the_metadata() -> None:
    projection = project(event({"value": "x" * 65}))

    assert projection.event.value == "x" * 64
    assert projection.event.metadata["value"] == "x" * 65
    assert [(loss.field, loss.reason) for loss in projection.losses] == [("metadata.value", "statsig_value_cut")]


def test_the_services_own_keys_replace_the_callers() -> None:
    theirs = {"event_id": "mine", "event_type": "mine", "actor_id": "mine", "_truncated": "mine"}
    given = event(theirs, event_type="billing", actor_id="user-1")

    assert project(given).event.metadata == {"event_id": EVENT_ID, "event_type": "billing", "actor_id": "user-1"}
    assert set(losses(given)) == {(f"metadata.{key}", "statsig_metadata_replaced") for key in theirs}


def test_metadata_of_exactly_4096_units_is_kept_whole() -> None:
    # Compact JSON: the projection's own measure adds no blanks, and one comma more than there is.
    whole = {"k": "x" * (OBJECT_LIMIT - (1 + len(f'"event_id":"{EVENT_ID}",')) - len('"k":"",'))}

    assert project(event(whole)).losses == ()
    assert project(event(whole)).event.metadata["k"] == whole["k"]
    assert losses(event({"k": whole["k"] + "x"})) == [("metadata.k", "statsig_metadata_cut")]


@pytest.mark.parametrize("character", ["é", "注", ASTRAL, '"', "\\", "\n", "\x01"])
def test_units_and_escapes_count_as_they_are_written(character: str) -> None:
    metadata = project(event({"k": character * 4096})).event.metadata

    assert compact_units(metadata) <= OBJECT_LIMIT
    assert set(metadata["k"]) == {character}


def test_short_values_survive_a_huge_one() -> None:
    short = {f"key_{n}": f"value {n}" for n in range(60)}
    given = event(short | {"a_dump": "x" * 60_000})

    metadata = project(given).event.metadata

    assert {key: metadata[key] for key in short} == short
    assert 16 <= len(metadata["a_dump"]) < OBJECT_LIMIT
    assert metadata["_truncated"] == "a_dump"
    assert losses(given) == [("metadata.a_dump", "statsig_metadata_cut")]


def test_what_leaves_no_room_for_a_meaningful_piece_is_left_out_and_listed() -> None:
    given = event({"a": "x" * 3000, "b": "y" * 3000, "c": "z" * 3000})

    metadata = project(given).event.metadata

    assert set(losses(given)) == {
        ("metadata.b", "statsig_metadata_cut"),
        ("metadata.c", "statsig_metadata_dropped"),
    }
    assert metadata.keys() == {"event_id", "a", "b", "_truncated"}
    assert metadata["_truncated"] == "b,c"


def test_the_cut_list_is_itself_bounded() -> None:
    given = event({f"{n:03}" + "k" * 200: "v" * 200 for n in range(100)})

    metadata = project(given).event.metadata

    assert len(f',"_truncated":"{metadata["_truncated"]}"') <= 512
    assert compact_units(metadata) <= OBJECT_LIMIT
    kept_whole = [key for key in given.metadata if metadata.get(key) == "v" * 200]
    assert len(losses(given)) == 100 - len(kept_whole)


huge_text = st.integers(0, 5000).flatmap(lambda size: st.sampled_from(["x", ASTRAL, '"', "é"]).map(lambda c: c * size))
huge_metadata = st.dictionaries(
    hostile_text, hostile_text | huge_text | st.booleans() | st.integers(0, 99), max_size=40
)
hostile_events = st.one_of(events, st.builds(event, huge_metadata, event_type=st.just("t"), actor_id=st.none()))


@given(hostile_events)
def test_never_exceeds_the_limits(given: Event) -> None:
    projected = project(given).event

    assert units(projected.name) <= STRING_LIMIT
    assert not isinstance(projected.value, str) or units(projected.value) <= STRING_LIMIT
    assert compact_units(projected.metadata) <= OBJECT_LIMIT
    assert all(isinstance(value, str) for value in projected.metadata.values())


@given(hostile_events)
def test_is_deterministic_whatever_the_order_of_keys(given: Event) -> None:
    backwards = event(
        dict(reversed(given.metadata.items())),
        event_id=given.event_id,
        event_name=given.event_name,
        event_type=given.event_type,
        actor_id=given.actor_id,
        event_ts_nanos=given.event_ts_nanos,
    )

    assert project(given).event == project(backwards).event
    assert set(project(given).losses) == set(project(backwards).losses)


@given(hostile_events)
def test_every_lossy_difference_is_listed(given: Event) -> None:
    projection = project(given)
    listed = {loss.field for loss in projection.losses}
    kept = projection.event.metadata

    def told(field: str) -> bool:
        return field in listed

    assert projection.event.name == given.event_name or told("event_name")
    assert kept["event_id"] == given.event_id
    assert kept.get("event_type") == given.event_type or (given.event_type is None and "event_type" in given.metadata)
    assert kept.get("actor_id") == given.actor_id or (given.actor_id is None and "actor_id" in given.metadata)
    for key, value in given.metadata.items():
        expected = value if isinstance(value, str) else None
        whole = kept.get(key) == expected if expected is not None else key in kept and _parses_to(kept[key], value)
        assert whole or told(f"metadata.{key}")
    if isinstance(projection.event.value, str) and projection.event.value != given.metadata["value"]:
        assert told("metadata.value")


def _parses_to(text: str, value: Any) -> bool:
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False


@given(hostile_events)
def test_nothing_is_listed_that_is_kept(given: Event) -> None:
    projection = project(given)
    cut = [loss for loss in projection.losses if loss.reason in ("statsig_metadata_cut", "statsig_metadata_dropped")]

    for loss in cut:
        key = loss.field.removeprefix("metadata.")
        assert projection.event.metadata.get(key) != given.metadata[key]
    assert ("_truncated" in projection.event.metadata) == bool(cut)


def test_a_loss_names_the_field_and_never_the_value() -> None:
    canary = "canary-7d1d0f3c"
    told = project(event({"k": canary * 1000, "value": canary * 10, "event_id": canary}, event_name=canary * 20)).losses

    assert len(told) == 4
    assert canary not in repr(told)

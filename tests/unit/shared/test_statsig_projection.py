"""What Statsig keeps of an event, and which losses the caller is warned of."""

import json
from typing import Any

import pytest

from shared.events.statsig_projection import StatsigEvent, is_dropped_name, project
from tests.support.sample_events import ASTRAL, EVENT_ID, NOW, bare_event
from tests.support.statsig_units import OBJECT_LIMIT, compact_units, warnings


def test_carries_the_event_as_strings() -> None:
    given = bare_event(
        {"s": "text", "i": 3, "f": 1.5, "t": True, "n": None, "l": [1, "a"], "o": {"b": 1, "a": 2}},
        event_type="billing",
        actor_id="user-1",
    )

    projected = project(given)

    assert projected.warnings == ()
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
    assert project(bare_event()).event.metadata == {"event_id": EVENT_ID}


@pytest.mark.parametrize(("nanos", "milliseconds"), [(-1, -1), (999_999, 0), (1_000_000, 1), (-1_000_001, -2)])
def test_time_is_floored_to_milliseconds(nanos: int, milliseconds: int) -> None:
    assert project(bare_event(event_ts_nanos=nanos)).event.time_ms == milliseconds


@pytest.mark.parametrize("character", [*"\\[]{}<>#=;&$%|", "\x00", "\r", "\n"])
def test_a_name_that_statsig_drops_is_told(character: str) -> None:
    name = f"a{character}b"

    assert is_dropped_name(name)
    assert warnings(bare_event(event_name=name)) == [("event_name", "statsig_name_dropped")]


@pytest.mark.parametrize("name", ["order_paid", "order paid", "a.b:c/d-e+f", "(x)!?*^~`'\"@,", "注文", ASTRAL])
def test_any_other_name_is_kept(name: str) -> None:
    assert not is_dropped_name(name)
    assert project(bare_event(event_name=name)).event.name == name


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
    projection = project(bare_event(event_name=name))

    assert projection.event.name == kept
    assert ("event_name", "statsig_name_cut") in warnings(bare_event(event_name=name)) or name == kept


@pytest.mark.parametrize("value", [0, 3, -1.5, 1e300, "", "green", "x" * 64])
def test_a_number_or_string_named_value_becomes_the_value(value: Any) -> None:
    projection = project(bare_event({"value": value}))

    assert projection.event.value == value
    assert projection.warnings == ()
    assert "value" in projection.event.metadata


@pytest.mark.parametrize("value", [True, False, None, [1], {"a": 1}])
def test_any_other_value_stays_metadata(value: Any) -> None:
    projection = project(bare_event({"value": value}))

    assert projection.event.value is None
    assert projection.event.metadata["value"] == json.dumps(value, separators=(",", ":"))


def test_a_long_string_value_is_cut_and_survives_in_the_metadata() -> None:
    projection = project(bare_event({"value": "x" * 65}))

    assert projection.event.value == "x" * 64
    assert projection.event.metadata["value"] == "x" * 65
    assert [(warning.field, warning.reason) for warning in projection.warnings] == [
        ("metadata.value", "statsig_value_cut")
    ]


def test_the_services_own_keys_replace_the_callers() -> None:
    theirs = {"event_id": "mine", "event_type": "mine", "actor_id": "mine", "_truncated": "mine"}
    given = bare_event(theirs, event_type="billing", actor_id="user-1")

    assert project(given).event.metadata == {"event_id": EVENT_ID, "event_type": "billing", "actor_id": "user-1"}
    assert set(warnings(given)) == {(f"metadata.{key}", "statsig_metadata_replaced") for key in theirs}


def test_metadata_of_exactly_4096_units_is_kept_whole() -> None:
    # Compact JSON: the projection's own measure adds no blanks, and one comma more than there is.
    whole = {"k": "x" * (OBJECT_LIMIT - (1 + len(f'"event_id":"{EVENT_ID}",')) - len('"k":"",'))}

    assert project(bare_event(whole)).warnings == ()
    assert project(bare_event(whole)).event.metadata["k"] == whole["k"]
    assert warnings(bare_event({"k": whole["k"] + "x"})) == [("metadata.k", "statsig_metadata_cut")]


@pytest.mark.parametrize("character", ["é", "注", ASTRAL, '"', "\\", "\n", "\x01"])
def test_units_and_escapes_count_as_they_are_written(character: str) -> None:
    metadata = project(bare_event({"k": character * 4096})).event.metadata

    assert compact_units(metadata) <= OBJECT_LIMIT
    assert set(metadata["k"]) == {character}


def test_short_values_survive_a_huge_one() -> None:
    short = {f"key_{n}": f"value {n}" for n in range(60)}
    given = bare_event(short | {"a_dump": "x" * 60_000})

    metadata = project(given).event.metadata

    assert {key: metadata[key] for key in short} == short
    assert 16 <= len(metadata["a_dump"]) < OBJECT_LIMIT
    assert metadata["_truncated"] == "a_dump"
    assert warnings(given) == [("metadata.a_dump", "statsig_metadata_cut")]


def test_what_leaves_no_room_for_a_meaningful_piece_is_left_out_and_listed() -> None:
    given = bare_event({"a": "x" * 3000, "b": "y" * 3000, "c": "z" * 3000})

    metadata = project(given).event.metadata

    assert set(warnings(given)) == {
        ("metadata.b", "statsig_metadata_cut"),
        ("metadata.c", "statsig_metadata_dropped"),
    }
    assert metadata.keys() == {"event_id", "a", "b", "_truncated"}
    assert metadata["_truncated"] == "b,c"


def test_the_cut_list_is_itself_bounded() -> None:
    given = bare_event({f"{n:03}" + "k" * 200: "v" * 200 for n in range(100)})

    metadata = project(given).event.metadata

    assert len(f',"_truncated":"{metadata["_truncated"]}"') <= 512
    assert compact_units(metadata) <= OBJECT_LIMIT
    kept_whole = [key for key in given.metadata if metadata.get(key) == "v" * 200]
    assert len(warnings(given)) == 100 - len(kept_whole)


def test_a_loss_names_the_field_and_never_the_value() -> None:
    canary = "canary-7d1d0f3c"
    told = project(
        bare_event({"k": canary * 1000, "value": canary * 10, "event_id": canary}, event_name=canary * 20)
    ).warnings

    assert len(told) == 4
    assert canary not in repr(told)

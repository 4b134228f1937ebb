"""Properties of the projection for Statsig, over hostile events."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.events.event import Event
from shared.events.statsig_projection import project
from tests.support.sample_events import ASTRAL, bare_event
from tests.support.statsig_units import OBJECT_LIMIT, STRING_LIMIT, compact_units, units
from tests.support.strategies import events, hostile_text

huge_text = st.integers(0, 5000).flatmap(lambda size: st.sampled_from(["x", ASTRAL, '"', "é"]).map(lambda c: c * size))

huge_metadata = st.dictionaries(
    hostile_text, hostile_text | huge_text | st.booleans() | st.integers(0, 99), max_size=40
)

hostile_events = st.one_of(events, st.builds(bare_event, huge_metadata, event_type=st.just("t"), actor_id=st.none()))


@given(hostile_events)
def test_never_exceeds_the_limits(given: Event) -> None:
    projected = project(given).event

    assert units(projected.name) <= STRING_LIMIT
    assert not isinstance(projected.value, str) or units(projected.value) <= STRING_LIMIT
    assert compact_units(projected.metadata) <= OBJECT_LIMIT
    assert all(isinstance(value, str) for value in projected.metadata.values())


@given(hostile_events)
def test_is_deterministic_whatever_the_order_of_keys(given: Event) -> None:
    backwards = bare_event(
        dict(reversed(given.metadata.items())),
        event_id=given.event_id,
        event_name=given.event_name,
        event_type=given.event_type,
        actor_id=given.actor_id,
        event_ts_nanos=given.event_ts_nanos,
    )

    assert project(given).event == project(backwards).event
    assert set(project(given).warnings) == set(project(backwards).warnings)


@given(hostile_events)
def test_every_lossy_difference_is_listed(given: Event) -> None:
    projection = project(given)
    listed = {warning.field for warning in projection.warnings}
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
    cut = [
        warning
        for warning in projection.warnings
        if warning.reason in ("statsig_metadata_cut", "statsig_metadata_dropped")
    ]

    for warning in cut:
        key = warning.field.removeprefix("metadata.")
        assert projection.event.metadata.get(key) != given.metadata[key]
    assert ("_truncated" in projection.event.metadata) == bool(cut)

"""Hypothesis strategies for texts, metadata and events."""

import math
import string
from typing import Any

from hypothesis import strategies as st

from shared.events.event import Event
from shared.events.timestamps import EARLIEST_NANOS, LATEST_NANOS
from tests.support.sample_events import ASTRAL

# Without lone surrogates: what arrives over the wire is Unicode, and the codecs refuse them.
hostile_text = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(
        [
            "",
            " ",
            "\u2003\u3000",
            "\x00",
            "a\x00b",
            r"\u0000",
            "\r\n",
            "\x1b[31m",
            "\u202e",
            "\u200b",
            "e\u0301" * 30,
            "_eventLog",
            "__proto__",
            "'; DROP TABLE NestEventLog; --",
            "{}[]<>#=;&$%|\\",
            ASTRAL * 300,
            "x" * 300,
            '"' * 200,
        ]
    ),
)

json_scalars = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(-(2**60), 2**60).map(float), hostile_text, st.just(-0.0)
)

json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile_text, inner, max_size=4),
    max_leaves=12,
)

json_objects = st.dictionaries(hostile_text, json_values, max_size=6)


def is_storable(value: Any) -> bool:
    """Whether normalization accepts such a value in metadata."""
    match value:
        case float():
            return math.isfinite(value)
        case str():
            return "\x00" not in value
        case dict():
            return all(is_storable(key) and is_storable(item) for key, item in value.items())
        case list():
            return all(is_storable(item) for item in value)
        case _:
            return True


stored_metadata = json_objects.filter(lambda value: is_storable(value) and "_eventLog" not in value)

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=256).filter(str.strip)
labels = st.none() | st.text(string.printable.strip() + ASTRAL, min_size=1, max_size=128).filter(str.strip)

events = st.builds(
    Event,
    event_id=st.uuids().map(str),
    event_name=names,
    event_type=labels,
    actor_id=labels,
    event_ts_nanos=st.integers(EARLIEST_NANOS, LATEST_NANOS),
    metadata=stored_metadata,
)
"""Events that normalization could have made."""

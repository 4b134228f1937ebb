"""The canonical text: equal values give equal text, and it is the text of stored digests."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protobuf.wkt import Struct

from shared.events import canonical_json

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53) + 1, 2**53 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


@given(values)
def test_the_text_is_json_of_the_same_value(value: Any) -> None:
    assert json.loads(canonical_json.encode(value)) == value


@given(st.dictionaries(texts, values, max_size=8))
def test_the_way_through_a_struct_gives_the_text_of_the_value_itself(value: dict[str, Any]) -> None:
    by_struct = canonical_json.decode(Struct.from_python(value).to_json())

    assert canonical_json.encode(by_struct) == canonical_json.encode(with_integers(value))


@given(values)
def test_a_decoded_text_encodes_to_itself(value: Any) -> None:
    text = canonical_json.encode(canonical_json.decode(canonical_json.encode(value)))

    assert canonical_json.encode(canonical_json.decode(text)) == text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ('{"b": 1, "a": 2}', '{"a":2,"b":1}'),
        ('{"\U0001f600": 1, "\uffff": 2, "a": 3}', '{"a":3,"\uffff":2,"\U0001f600":1}'),
        ("[1.0, 1e2, -0.0, 0.10]", "[1,100,0,0.1]"),
        ("[9007199254740991.0, 9007199254740992.0]", "[9007199254740991,9007199254740992.0]"),
        ("[1e16, 1e22, 1.5e300, 5e-324, 0.00001]", "[1e+16,1e+22,1.5e+300,5e-324,0.00001]"),
        (r'["\u00e9\u2028\u007f", "\u0001\n\"\\\/"]', '["\u00e9\u2028\x7f","\\u0001\\n\\"\\\\/"]'),
        ("[true, false, null, {}, []]", "[true,false,null,{},[]]"),
        ('["1.0", {"2.0": "3.0"}]', '["1.0",{"2.0":"3.0"}]'),
    ],
)
def test_the_form_that_stored_digests_are_made_of_stays(given: str, text: str) -> None:
    assert canonical_json.encode(canonical_json.decode(given)).decode() == text


@pytest.mark.parametrize("text", ["", "{", "[1,]", "NaN", "[Infinity]", r'"\ud800"', "{'a': 1}", b"\xff"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_json.decode(text)


def with_integers(value: Any) -> Any:
    """What a number that travelled as a double is worth: written independently of the module."""
    if isinstance(value, float) and math.floor(value) == value and abs(value) < 2**53:
        return math.floor(value)
    if isinstance(value, dict):
        return {key: with_integers(item) for key, item in value.items()}
    return [with_integers(item) for item in value] if isinstance(value, list) else value

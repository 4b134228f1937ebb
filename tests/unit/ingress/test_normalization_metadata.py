"""The rules of metadata."""

import json
import math
from typing import Any

import pytest
from protobuf.wkt import Struct, Value

from ingress.normalization import Defaults
from shared.events.event import ANONYMOUS, Caller, CallerSource
from tests.support.sample_events import ASTRAL
from tests.support.sample_requests import (
    ALICE,
    nested_lists,
    nested_objects,
    normalize,
    sample_request,
    struct_of_number,
    violations,
)

LIMIT = 65_536
TOO_LARGE = [("metadata", "max_bytes")]
TOO_DEEP = [("metadata", "max_nesting")]
NOT_FINITE = [("metadata", "finite")]
HAS_NUL = [("metadata", "no_nul")]


def of_size(size: int, character: str = "x") -> dict[str, Any]:
    """Metadata of exactly that many bytes as compact JSON."""
    room = size - len('{"k":""}')
    width = len(character.encode())
    return {"k": character * (room // width) + "x" * (room % width)}


def test_no_metadata_is_an_empty_object() -> None:
    assert normalize(sample_request()).event.metadata == {}
    assert normalize(sample_request({})).event.metadata == {}


def test_is_stored_as_canonical_compact_json() -> None:
    row = normalize(sample_request({"b": [1.0, 1.5, None, True], "a": {"z": "ü", "y": -0.0}}))

    stored = row.metadata_json
    own = json.dumps(json.loads(stored)["_eventLog"], sort_keys=True, separators=(",", ":"))
    assert stored == '{"_eventLog":' + own + ',"a":{"y":0,"z":"ü"},"b":[1,1.5,null,true]}'


@pytest.mark.parametrize("character", ["x", "é", "注", ASTRAL])
def test_may_have_65536_bytes_and_not_one_more(character: str) -> None:
    assert len(json.dumps(of_size(LIMIT, character), ensure_ascii=False, separators=(",", ":")).encode()) == LIMIT
    assert violations(sample_request(of_size(LIMIT, character))) == []
    assert violations(sample_request(of_size(LIMIT + 1, character))) == TOO_LARGE


def test_an_escaped_character_counts_as_it_is_written() -> None:
    quotes = (LIMIT - len('{"k":""}')) // 2

    assert violations(sample_request({"k": '"' * quotes})) == []
    assert violations(sample_request({"k": '"' * (quotes + 1)})) == TOO_LARGE


def test_the_services_own_part_does_not_count() -> None:
    row = normalize(sample_request(of_size(LIMIT)))

    assert len(row.metadata_json.encode()) > LIMIT


def test_a_deployment_may_be_stricter() -> None:
    strict = Defaults(forward_to_statsig=True, max_metadata_bytes=100)

    assert violations(sample_request(of_size(100)), defaults=strict) == []
    assert violations(sample_request(of_size(101)), defaults=strict) == TOO_LARGE


@pytest.mark.parametrize("nested", [nested_objects, nested_lists])
def test_may_be_32_levels_deep_and_not_one_more(nested: Any) -> None:
    assert violations(sample_request(nested(32))) == []
    assert violations(sample_request(nested(33))) == TOO_DEEP
    assert violations(sample_request(nested(50))) == TOO_DEEP


def test_many_shallow_values_are_not_deep() -> None:
    assert violations(sample_request({str(n): [[]] * 50 for n in range(100)})) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refuses_what_json_cannot_say(value: float) -> None:
    assert violations(sample_request(Struct.from_binary(struct_of_number(value).to_binary()))) == NOT_FINITE


def test_refuses_a_value_without_a_kind() -> None:
    assert violations(sample_request(Struct(fields={"k": Value()}))) == NOT_FINITE


@pytest.mark.parametrize("value", [1.7976931348623157e308, 5e-324, 2.0**53, -(2.0**53), 2.0**53 - 1, 1e22, 0.1])
def test_keeps_every_finite_double(value: float) -> None:
    row = normalize(sample_request({"n": value}))

    assert json.loads(row.metadata_json)["n"] == value
    assert row.event.metadata["n"] == value


@pytest.mark.parametrize(
    "metadata",
    [
        {"k": "\x00"},
        {"k": "a\x00b"},
        {"\x00": 1},
        {"a": [{"b": ["\x00"]}]},
        {"a": [{"b\x00": 1}]},
        {"k": r"\u0000" + "\x00"},
    ],
)
def test_refuses_nul_in_keys_and_values(metadata: dict[str, Any]) -> None:
    assert violations(sample_request(metadata)) == HAS_NUL


@pytest.mark.parametrize("metadata", [{"k": r"\u0000"}, {r"\u0000": 1}, {"k": r"\\u0000"}, {"k": "\\" * 5 + "u0000"}])
def test_accepts_the_text_that_only_looks_like_nul(metadata: dict[str, Any]) -> None:
    row = normalize(sample_request(metadata))

    assert row.event.metadata == metadata
    assert {key: value for key, value in json.loads(row.metadata_json).items() if key != "_eventLog"} == metadata


def test_keeps_other_control_characters_escaped() -> None:
    row = normalize(sample_request({"k": "a\nb\x1b[31m\u2028"}))

    assert r'"k":"a\nb\u001b[31m' in row.metadata_json


def test_refuses_the_reserved_key_at_the_top_only() -> None:
    assert violations(sample_request({"_eventLog": None})) == [("metadata._eventLog", "reserved")]
    assert violations(sample_request({"a": {"_eventLog": 1}, "_eventlog": 1, "eventLog": 1})) == []


@pytest.mark.parametrize("key", ["", " ", "__proto__", "constructor", "x" * 5000, ASTRAL])
def test_accepts_any_other_key(key: str) -> None:
    assert normalize(sample_request({key: 1})).event.metadata == {key: 1}


@pytest.mark.parametrize(
    ("caller", "recorded"),
    [
        (ALICE, {"principal": "alice@example.com", "source": "cloud_run_iam"}),
        (ANONYMOUS, {"principal": None, "source": "none"}),
        (
            Caller("mallory@example.com", CallerSource.UNVERIFIED_HEADER),
            {"principal": "mallory@example.com", "source": "unverified_header"},
        ),
    ],
)
def test_records_the_caller_and_how_it_was_established(caller: Caller, recorded: dict[str, Any]) -> None:
    row = normalize(sample_request({"a": 1}), caller=caller)

    own = json.loads(row.metadata_json)["_eventLog"]
    assert own == {
        "caller": recorded,
        "schema_version": 1,
    }
    assert "_eventLog" not in row.event.metadata


def test_the_trace_it_was_logged_under_is_kept_with_the_row_and_changes_nothing_else() -> None:
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    plain, traced = normalize(sample_request({"a": 1})), normalize(sample_request({"a": 1}), traceparent=traceparent)

    assert "traceparent" not in json.loads(plain.metadata_json)["_eventLog"]
    assert json.loads(traced.metadata_json)["_eventLog"]["traceparent"] == traceparent
    assert traced.event.traceparent == traceparent
    assert traced.request_digest == plain.request_digest

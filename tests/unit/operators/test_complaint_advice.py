"""Every reason that the service gives has advice of its own; any other has a general one."""

import re

import pytest

from deploy.local.stack import REPOSITORY
from ingress.error_codes import ANSWERS
from ingress.reporting import is_refusal
from shared.errors import InvalidEventError
from shared.events.complaints import OTHER
from worker.operators.complaints.advice import advice_on


def rules() -> set[str]:
    """The rules of proto/ and of the code, the words of errors that are the caller's, and the reasons of warnings."""
    code = "".join(path.read_text() for path in (REPOSITORY / "ingress").rglob("*.py"))
    projection = (REPOSITORY / "shared" / "events" / "statsig_projection.py").read_text()
    proto = (REPOSITORY / "proto" / "events" / "v1" / "event_logging.proto").read_text()
    violations = re.findall(r'FieldViolation\(\s*[^"]*"[^"]*"\s*,\s*"(\w+)"', code)
    violations += re.findall(r'FieldViolation\([^",]+, "(\w+)"', code)
    declared = re.findall(r"\(buf\.validate\.field\)\.(?:\w+\.)*(required|\w+_len|\w+_items) =", proto)
    words = [
        each.reason for each, answer in ANSWERS.items() if is_refusal(answer.code) and each is not InvalidEventError
    ]
    return {*violations, *declared, *words, *re.findall(r'"(statsig_\w+)"', projection)}


RULES = sorted(rules())


def test_the_rules_are_found() -> None:
    assert len(RULES) >= 25
    assert {"required", "max_len", "max_items", "max_nesting", "type", "idempotency_conflict"} < set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_every_reason_has_advice_of_its_own(rule: str) -> None:
    assert advice_on(f"field:{rule}") == advice_on(rule) != advice_on("unheard of")


@pytest.mark.parametrize("reason", [OTHER, "connect:unimplemented", "", "a:b:c"])
def test_any_reason_has_advice(reason: str) -> None:
    assert advice_on(reason).startswith("see the answers")


def test_a_metadata_key_with_a_colon_does_not_hide_the_rule() -> None:
    assert advice_on("metadata.a:max_bytes:statsig_metadata_cut") == advice_on("statsig_metadata_cut")

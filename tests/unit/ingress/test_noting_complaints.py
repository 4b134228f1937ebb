"""What counts as a complaint, under which caller, name and reason."""

from collections import Counter
from typing import Any

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from ingress.call_context import CallContext
from ingress.complaints.noting import MAX_REASONS, Complaints
from ingress.error_codes import ANSWERS, answer_for
from ingress.service import Logged
from shared.errors import (
    CallerOverloadedError,
    EventLoggingError,
    FieldViolation,
    IdempotencyConflictError,
    InvalidEventError,
    RequestTooLargeError,
    StorageUnavailableError,
    UncheckedCallerError,
)
from shared.events.complaints import MAX_NAME, MAX_REASON, Complaint, ComplaintKind
from shared.events.event import Caller, CallerSource
from shared.events.statsig_projection import ProjectionWarning

WARNING, REFUSAL = ComplaintKind.WARNING, ComplaintKind.REFUSAL
CALLER = "checkout@example.com"


class Noted:
    def __init__(self) -> None:
        self.counts: Counter[Complaint] = Counter()
        self.complaints = Complaints(self)

    def note(self, complaint: Complaint, events: int = 1) -> None:
        self.counts[complaint] += events

    def answered(self, outcome: Any, *names: str, index: int = 0) -> dict[Complaint, int]:
        self.complaints.answered(call(*names), outcome, index)
        return dict(self.counts)

    def failed(self, error: Exception, code: Code, *names: str) -> dict[Complaint, int]:
        self.complaints.failed(call(*names), error, code)
        return dict(self.counts)


@pytest.fixture
def noted() -> Noted:
    return Noted()


def call(*names: str) -> CallContext:
    return CallContext(caller=Caller(CALLER, CallerSource.CLOUD_RUN_IAM), event_names=names)


def logged(*fields_and_reasons: tuple[str, str]) -> Logged:
    return Logged("id", duplicate=False, warnings=tuple(ProjectionWarning(*each, "d") for each in fields_and_reasons))


def invalid(*fields_and_rules: tuple[str, str]) -> InvalidEventError:
    return InvalidEventError(tuple(FieldViolation(*each, "d") for each in fields_and_rules))


def complaint(kind: ComplaintKind, reason: str, name: str = "order_paid") -> Complaint:
    return Complaint(kind, CALLER, name, reason)


def test_an_event_without_a_warning_counts_nothing(noted: Noted) -> None:
    assert noted.answered(logged(), "order_paid") == {}


def test_a_warning_counts_by_field_and_reason_for_the_event_at_its_place(noted: Noted) -> None:
    found = noted.answered(logged(("metadata.note", "statsig_metadata_cut")), "other", " order_paid ", index=1)
    assert found == {complaint(WARNING, "metadata.note:statsig_metadata_cut"): 1}


def test_any_warning_counts_also_one_that_another_module_adds(noted: Noted) -> None:
    found = noted.answered(logged(("forward_to_statsig", "stored_only")), "order_paid")
    assert found == {complaint(WARNING, "forward_to_statsig:stored_only"): 1}


def test_an_event_with_many_reasons_counts_by_rule_without_the_keys(noted: Noted) -> None:
    warnings = [(f"metadata.k{index}", "statsig_metadata_dropped") for index in range(MAX_REASONS + 1)]
    found = noted.answered(logged(*warnings), "order_paid")
    assert found == {complaint(WARNING, "metadata.*:statsig_metadata_dropped"): 1}


def test_a_refused_event_counts_for_each_broken_rule(noted: Noted) -> None:
    found = noted.answered(invalid(("event_name", "required"), ("metadata", "max_keys")), "")
    assert found == {
        complaint(REFUSAL, "event_name:required", ""): 1,
        complaint(REFUSAL, "metadata:max_keys", ""): 1,
    }


@pytest.mark.parametrize("error", [IdempotencyConflictError(), CallerOverloadedError(), RequestTooLargeError("big")])
def test_other_refusals_count_by_their_word(noted: Noted, error: EventLoggingError) -> None:
    assert noted.answered(error, "order_paid") == {complaint(REFUSAL, error.reason): 1}


def test_an_error_that_is_added_to_the_table_of_answers_counts_by_its_word(
    noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    class RefusedByRuleError(EventLoggingError):
        reason = "refused_by_rule"

    monkeypatch.setitem(ANSWERS, RefusedByRuleError, ANSWERS[IdempotencyConflictError])
    assert noted.answered(RefusedByRuleError(), "order_paid") == {complaint(REFUSAL, "refused_by_rule"): 1}


@pytest.mark.parametrize("error", [StorageUnavailableError("down"), UncheckedCallerError(), EventLoggingError()])
def test_what_is_the_services_fault_is_no_refusal(noted: Noted, error: EventLoggingError) -> None:
    assert noted.answered(error, "order_paid") == {}
    assert noted.failed(error, answer_for(error).code, "order_paid") == {}


@pytest.mark.parametrize("code", [Code.CANCELED, Code.DEADLINE_EXCEEDED])
def test_a_call_that_was_cancelled_or_too_late_is_no_refusal(noted: Noted, code: Code) -> None:
    assert noted.failed(ConnectError(code, "x"), code, "order_paid") == {}


def test_a_call_of_many_that_failed_as_a_whole_counts_all_its_events_without_a_name(noted: Noted) -> None:
    found = noted.failed(CallerOverloadedError(), Code.RESOURCE_EXHAUSTED, "a", "b", "c")
    assert found == {complaint(REFUSAL, "caller_overloaded", ""): 3}


@pytest.mark.parametrize(("names", "name"), [((), ""), (("order_paid",), "order_paid")])
def test_a_call_of_one_event_or_of_an_unknown_number_counts_once(
    noted: Noted, names: tuple[str, ...], name: str
) -> None:
    found = noted.failed(invalid(("event_name", "required")), Code.INVALID_ARGUMENT, *names)
    assert found == {complaint(REFUSAL, "event_name:required", name): 1}


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (ConnectError(Code.RESOURCE_EXHAUSTED, "x"), Code.INVALID_ARGUMENT, "request_too_large"),
        (ConnectError(Code.UNIMPLEMENTED, "x"), Code.UNIMPLEMENTED, "connect:unimplemented"),
    ],
)
def test_what_connectrpc_refuses_counts_by_its_code(noted: Noted, error: ConnectError, code: Code, reason: str) -> None:
    assert noted.failed(error, code) == {complaint(REFUSAL, reason, ""): 1}


def test_texts_of_callers_are_bounded_and_printable(noted: Noted) -> None:
    warning = logged((f"metadata.{'k' * 500}\ud800", "statsig_metadata_cut"))
    (found,) = noted.answered(warning, "n\ud800\x1b" + "n" * 500)

    assert found.event_name.startswith("n\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}nn")
    assert len(found.event_name) == MAX_NAME
    assert found.reason.endswith("k:statsig_metadata_cut")
    assert len(found.reason) == MAX_REASON

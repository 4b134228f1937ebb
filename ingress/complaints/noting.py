"""Makes complaints of the outcomes of calls: every LogEvent and every event of a LogEvents passes here once.

Before that nothing is known of a call's events: what `ingress/http/` refuses for its head is no complaint.
"""

from collections.abc import Iterable
from typing import Final

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from ingress.call_context import CallContext
from ingress.complaints.hourly import ComplaintCounter
from ingress.error_codes import answer_for
from ingress.reporting import is_refusal
from ingress.service import Logged
from shared.errors import EventLoggingError, InvalidEventError, RequestTooLargeError
from shared.events.complaints import MAX_CALLER, MAX_NAME, MAX_REASON, Complaint, ComplaintKind, folded
from shared.events.statsig_projection import ProjectionWarning

MAX_REASONS: Final = 5
"""Reasons of one event that are told apart. An event may have a hundred metadata keys that are too large; then
the keys are left out, and it counts once for each rule."""


class Complaints:
    """Notes what was wrong with events. Costs nothing for those that have neither a warning nor an error."""

    def __init__(self, counter: ComplaintCounter) -> None:
        self._counter = counter

    def answered(self, call: CallContext, outcome: Logged | EventLoggingError, index: int = 0) -> None:
        """Note the outcome of one event of the call; `index` is its place in a LogEvents."""
        if isinstance(outcome, EventLoggingError):
            if is_refusal(answer_for(outcome).code):
                self._note(ComplaintKind.REFUSAL, call, call.event_names[index], _of_refusal(outcome))
        elif outcome.warnings:
            self._note(ComplaintKind.WARNING, call, call.event_names[index], _of_warnings(outcome.warnings))

    def failed(self, call: CallContext, error: Exception, code: Code) -> None:
        """Note that the call failed as a whole, answered with `code`.

        Every event of a LogEvents counts. None of them is the reason, so they are counted without names.
        """
        if is_refusal(code):
            names = call.event_names
            name = names[0] if len(names) == 1 else ""
            self._note(ComplaintKind.REFUSAL, call, name, _of_refusal(error), events=max(1, len(names)))

    def _note(self, kind: ComplaintKind, call: CallContext, name: str, reasons: Iterable[str], events: int = 1) -> None:
        caller, name = _bounded(call.caller.principal, MAX_CALLER), _bounded(name.strip(), MAX_NAME)
        for reason in reasons:
            self._counter.note(Complaint(kind, caller, name, reason), events)


def _of_warnings(warnings: Iterable[ProjectionWarning]) -> Iterable[str]:
    return _distinct(_reason(warning.field, warning.reason) for warning in warnings)


def _of_refusal(error: Exception) -> Iterable[str]:
    match error:
        case InvalidEventError():
            return _distinct(_reason(violation.field, violation.rule) for violation in error.violations)
        case EventLoggingError():
            return (error.reason,)
        case ConnectError(code=Code.RESOURCE_EXHAUSTED):  # connectrpc's code for a body over its limit
            return (RequestTooLargeError.reason,)
        case ConnectError():
            return (f"connect:{error.code.value}",)
        case _:
            return (EventLoggingError.reason,)


def _distinct(reasons: Iterable[str]) -> Iterable[str]:
    found = dict.fromkeys(reasons)
    return found if len(found) <= MAX_REASONS else dict.fromkeys(map(folded, found))


def _reason(field: str, rule: str) -> str:
    return f"{_bounded(field, MAX_REASON - len(rule) - 1)}:{rule}" if field else rule


def _bounded(text: str, limit: int) -> str:
    """The text cut to `limit`, each unprintable character replaced: Spanner refuses unpaired surrogates."""
    text = text[:limit]
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)

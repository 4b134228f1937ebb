"""The outcome of `nest-events forward` for each event: as foreseen before it, and as found by it; pure."""

from enum import StrEnum
from typing import Final

from shared.events.late_forward_ledger import Admission, StoredEvent
from shared.events.statsig_projection import is_dropped_name


class Outcome(StrEnum):
    """What becomes of one event. The values are keys of the JSON answer."""

    FORWARDED = "forwarded"
    """Had no ledger row: made pending and published."""

    ALREADY = "already"
    """Has a ledger row: forwarded earlier, and pending, delivered or dead. Left as it is."""

    NAME_DROPPED = "name_dropped"
    """Statsig would drop it for its name. Left as it is."""

    TOO_OLD = "too_old"
    """As old as the ledger's retention by the time it was reached. Left as it is."""

    UNREADABLE = "unreadable"
    """Its row makes no event. Left as it is."""

    MISSING = "missing"
    """Its row was deleted after it was chosen."""

    LEFT = "left"
    """Not reached: beyond the limit, or the command was interrupted or failed."""


EXPLAINED: Final = {
    Outcome.FORWARDED: "stored only: made pending and published",
    Outcome.ALREADY: "forwarded earlier: left, see its state with `trace`",
    Outcome.NAME_DROPPED: "Statsig drops events of such a name: left",
    Outcome.TOO_OLD: "too old to know whether Statsig has it: left",
    Outcome.UNREADABLE: "its row makes no event: left",
    Outcome.MISSING: "its row is gone",
    Outcome.LEFT: "not reached: left for the next run",
}

_OUTCOME_OF: Final = {
    Admission.ADMITTED: Outcome.FORWARDED,
    Admission.PENDING: Outcome.ALREADY,
    Admission.SETTLED: Outcome.ALREADY,
    Admission.TOO_OLD: Outcome.TOO_OLD,
    Admission.UNREADABLE: Outcome.UNREADABLE,
    Admission.MISSING: Outcome.MISSING,
}


def forecast(event: StoredEvent) -> Outcome:
    """The outcome that the command would have now."""
    if event.state is not None:
        return Outcome.ALREADY
    return Outcome.NAME_DROPPED if is_dropped_name(event.event_name) else Outcome.FORWARDED


def outcome_of(found: Admission, *, is_retried: bool) -> Outcome:
    """The outcome of an event that was to be admitted.

    `is_retried` says that an earlier try of this command may have been written although its answer was lost. A pending
    event may then be our own, and is published: a second message does no harm.
    """
    if found is Admission.PENDING and is_retried:
        return Outcome.FORWARDED
    return _OUTCOME_OF[found]

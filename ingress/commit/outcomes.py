"""Outcomes of rows that are not resolved by a commit that succeeded: failed, refused, or not resolved in time."""

from collections.abc import Iterable

from ingress.commit.row_state import RowState
from ingress.commit.waiting_rows import OWN_LOAD, WHOLE_LOAD, Outcome, WaitingRow
from ingress.reference_cycles import without_frames
from shared.errors import (
    CallerOverloadedError,
    EventLoggingError,
    OverloadedError,
    StorageRejectedError,
    StorageUnavailableError,
)


def final_outcome(waiting: WaitingRow, *, is_served: bool) -> Outcome:
    """The outcome of a row whose call is over. `is_served`: some commit succeeded while the call waited."""
    if waiting.outcome is not None:
        return waiting.outcome
    if waiting.state is RowState.IN_COMMIT:
        return StorageUnavailableError("the event was not written in time; it may still be written")
    if not is_served:
        return StorageUnavailableError("Spanner did not answer in time; the event was not written")
    # Spanner writes, so load kept the row waiting. It stays unwritten: a commit drops the rows of calls that are over.
    return CallerOverloadedError(OWN_LOAD) if waiting.is_behind_own else OverloadedError(WHOLE_LOAD)


def fail_unresolved(group: Iterable[WaitingRow], error: EventLoggingError) -> None:
    for waiting in group:
        if waiting.state is not RowState.RESOLVED:
            waiting.fail(without_frames(error))


def refuse(group: Iterable[WaitingRow], *, guilty: bool) -> None:
    """Fail rows that Spanner refused; none of them is written. `guilty`: by their own content."""
    for waiting in group:
        if guilty:
            waiting.fail(StorageRejectedError("Spanner refused the event's row"))
        else:
            waiting.fail(StorageUnavailableError("Spanner refused the commit; the event was not written"))

"""The states of a row on its way to a commit."""

import enum


class RowState(enum.Enum):
    """One that is refused stays OFFERED; the others end RESOLVED or DROPPED. `WaitingRow` has the transitions."""

    OFFERED = enum.auto()
    """Not admitted to a queue. Not written."""

    QUEUED = enum.auto()
    """In its caller's queue. Not written."""

    IN_COMMIT = enum.auto()
    """A commit has taken it. It may be written."""

    RESOLVED = enum.auto()
    """It has its outcome."""

    DROPPED = enum.auto()
    """Left out of the commit, because its call was over when its turn came. Not written."""

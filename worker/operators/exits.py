"""Exit codes, and the one kind of error that a command raises on purpose."""

from typing import ClassVar, Final

from shared.errors import EventLoggingError

OK: Final = 0
BAD_NEWS: Final = 1
"""The command worked, and its answer is one that somebody should look at."""

WRONG_USAGE: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 130
"""As shells report Ctrl-C."""

EXPLAINED: Final = """Exit codes:

\b
  0    done
  1    the answer is bad news: something unaccounted, an unknown id, a finding of doctor
  2    wrong usage or settings
  3    Spanner, Pub/Sub or the ingress is not available, or not to this identity
  130  Ctrl-C; what was begun was finished, and running the command again goes on from there"""


class UsageError(EventLoggingError):
    """An argument that no run could accept; the text says what it must be."""

    reason: ClassVar[str] = "usage"


class UnknownError(EventLoggingError):
    """What was asked for does not exist."""

    reason: ClassVar[str] = "unknown"


class IngressUnavailableError(EventLoggingError):
    """The ingress refused the test event or did not answer."""

    reason: ClassVar[str] = "ingress_unavailable"

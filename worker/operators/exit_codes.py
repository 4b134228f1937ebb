"""Exit codes, and the errors that a command raises on purpose."""

from typing import ClassVar, Final

from shared.errors import EventLoggingError

OK: Final = 0
BAD_NEWS: Final = 1
"""The command worked, and its answer is one that somebody should look at."""

WRONG_USAGE: Final = 2
UNAVAILABLE: Final = 3
OUTPUT_FAILED: Final = 4
"""The answer was there, and whoever was to read it is gone, or the disk is full."""

OUR_FAULT: Final = 70
"""EX_SOFTWARE of sysexits.h."""

INTERRUPTED: Final = 130
"""As shells report Ctrl-C."""

EXPLAINED: Final = """Exit codes:

\b
  0    done, and all is well
  1    the answer is bad news: something unaccounted, an unknown id, an outage, a finding of doctor
  2    wrong usage or settings; nothing was asked or done
  3    not known or not done: Spanner, Pub/Sub or the ingress is not available, or not to this identity
  4    the answer could not be written: a closed pipe, a full disk
  70   a fault of ours; the traceback is on stderr
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


class OutputFailedError(EventLoggingError):
    """The answer could not be written to stdout."""

    reason: ClassVar[str] = "output_failed"

"""Exit codes, and the errors that a command raises on purpose."""

from typing import ClassVar, Final

from shared.errors import EventLoggingError

OK: Final = 0
BAD_NEWS: Final = 1
"""The command worked, and its answer needs a person's attention."""

WRONG_USAGE: Final = 2
UNAVAILABLE: Final = 3
OUTPUT_FAILED: Final = 4
"""The answer could not be written: the pipe is closed or the disk is full."""

OUR_FAULT: Final = 70
"""EX_SOFTWARE of sysexits.h."""

INTERRUPTED: Final = 130
"""What shells report for Ctrl-C; SIGTERM gives it too."""

EXPLAINED: Final = """Exit codes:

\b
  0    all is well, or the command is done
  1    bad news: an outage, a finding of doctor, an unaccounted event, an event not found or not delivered,
       an erasure that is not complete
  2    wrong usage or settings; nothing was done
  3    not known or not done: Spanner, Pub/Sub or the ingress is not available, or access is denied
  4    the answer could not be written: a closed pipe, a full disk
  70   a bug in nest-events; the traceback is on stderr
  130  interrupted (Ctrl-C, SIGTERM); a replay or an erasure that is run again goes on where it stopped"""


class UsageError(EventLoggingError):
    """A wrong argument or combination of arguments; the message says what is expected."""

    reason: ClassVar[str] = "usage"


class UnknownError(EventLoggingError):
    """The event or dead letter that was asked for does not exist."""

    reason: ClassVar[str] = "unknown"


class IngressUnavailableError(EventLoggingError):
    """The ingress refused the test event, or did not answer."""

    reason: ClassVar[str] = "ingress_unavailable"


class OutputFailedError(EventLoggingError):
    """The answer could not be written to stdout."""

    reason: ClassVar[str] = "output_failed"

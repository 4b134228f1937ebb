"""SIGTERM and SIGINT before the event loop handles them, and after it. Imports little: a process begins with it.

Main thread only.
"""

import signal
import sys

_TERMINATION = (signal.SIGTERM, signal.SIGINT)


def exit_on_termination() -> None:
    """Exit with 0 at a signal that comes while the process is starting.

    The kernel drops a signal for which process 1 has no handler. The process would go on to start, and be killed later.
    """
    for number in _TERMINATION:
        signal.signal(number, lambda *_: sys.exit(0))


def ignore_termination() -> None:
    """Let a process that is ending do so in its own way, however often it is told."""
    for number in _TERMINATION:
        signal.signal(number, signal.SIG_IGN)

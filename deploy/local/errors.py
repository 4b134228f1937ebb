"""What keeps the local stack from running, each with a message for the person at the terminal."""

from collections.abc import Sequence
from typing import NamedTuple


class LocalStackError(Exception):
    """The root: the message says what is wrong and, where known, what to do. The entry point exits with 2."""


class AbsentEmulator(NamedTuple):
    name: str
    component: str
    """Of the Google Cloud CLI's component manager."""

    package: str
    """Of apt, where the CLI came from there and has no component manager."""

    variable: str


class MissingEmulatorError(LocalStackError):
    """An emulator is neither running nor installed, and no Docker engine answers. Says all that is missing at once."""

    def __init__(self, absent: Sequence[AbsentEmulator], *, lacks_java: bool) -> None:
        lines = []
        if absent:
            lines.append(
                f"no {' and no '.join(each.name for each in absent)} was found. One of these helps: "
                f"'gcloud components install {' '.join(each.component for each in absent)}'; "
                f"'apt-get install {' '.join(each.package for each in absent)}' where the CLI came from apt; "
                f"a running Docker engine; or {' and '.join(each.variable for each in absent)} "
                "set to the host:port of a running one."
            )
        if lacks_java:
            lines.append(
                "the Pub/Sub emulator needs Java: install a JRE, for example 'apt-get install default-jre-headless'"
            )
        super().__init__("\n".join(lines))


class PortInUseError(LocalStackError):
    """Somebody else took the port between its choice and its use. Another port may well work."""


class StartFailedError(LocalStackError):
    """A process did not start, ended while starting, or did not answer in time."""

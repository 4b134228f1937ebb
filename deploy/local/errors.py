"""Why the local stack cannot run; each error's message is for the person at the terminal."""

from collections.abc import Sequence
from typing import NamedTuple


class LocalStackError(Exception):
    """The root: the message says what is wrong and, where known, what to do. The entry point exits with 2."""


class AbsentEmulator(NamedTuple):
    name: str
    component: str
    """In the Google Cloud CLI's component manager."""

    package: str
    """The apt package, for a CLI that came from apt and has no component manager."""

    variable: str
    """The environment variable that names a running one."""


class MissingEmulatorError(LocalStackError):
    """An emulator neither runs nor is installed, and no Docker engine answers. Names all that is missing."""

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
    """A port is taken, perhaps since it was chosen, or none is free."""


class StartFailedError(LocalStackError):
    """A process did not start, ended while starting, or did not answer in time."""

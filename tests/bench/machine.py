"""The machine of a measurement, for later comparisons."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

LIBRARIES: Final = (
    "connectrpc",
    "google-cloud-pubsub",
    "google-cloud-spanner",
    "grpcio",
    "h2corn",
    "protobuf",
    "protobuf-py",
    "protovalidate",
    "statsig",
    "uvicorn",
    "uvloop",
)

QUIET_LOAD: Final = 0.5
"""The load average below which the machine counts as idle. It covers the last minute, with processes that ended."""


@dataclass(frozen=True, slots=True)
class Machine:
    cores: int
    """Cores that this process may use."""

    processor: str
    memory_gib: float
    system: str
    python: str
    libraries: Mapping[str, str]
    load_before: float
    """The load average of the minute before the measurement."""

    @property
    def is_quiet(self) -> bool:
        return self.load_before < QUIET_LOAD

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        load = "" if self.is_quiet else f" NOT QUIET: the load average before was {self.load_before:.1f}."
        return (
            f"{self.cores} cores ({self.processor}), {self.memory_gib:.0f} GiB, {self.system}, Python {self.python}; "
            + ", ".join(f"{name} {number}" for name, number in self.libraries.items())
            + f".{load}"
        )


def this_machine() -> Machine:
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        libraries={name: version(name) for name in LIBRARIES},
        load_before=os.getloadavg()[0],
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

"""The log of requests: what each carried and what was done with it, even if nothing was kept.

It shows afterwards which requests an event took. Not fsynced: if the machine crashes, the last lines may be lost.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BufferedWriter
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One line of the log. `at` is Unix time in seconds; `request` is the same number as in the log of events."""

    at: float
    request: int
    event_ids: list[str]
    """Of the batch; empty if that was not read or could not be decoded."""

    did: str
    """What was done with it, in words."""

    kept: bool


def request_log_path(log_path: Path) -> Path:
    """Beside the log of accepted events."""
    return log_path.with_suffix(".requests.jsonl")


def read_requests(log_path: Path) -> Iterator[LoggedRequest]:
    """The requests so far of the stand-in whose log of events is `log_path`. A generator: there may be many."""
    with request_log_path(log_path).open("rb") as lines:
        for line in lines:
            # A last line without a newline is still being written.
            if line.endswith(b"\n"):
                yield LoggedRequest(**json.loads(line))


class RequestLog:
    def __init__(self, log_path: Path) -> None:
        self._path = request_log_path(log_path)
        self._file: BufferedWriter

    def open(self) -> None:
        """Empty the file: unlike the log of events it covers one process."""
        self._file = self._path.open("wb")

    def close(self) -> None:
        self._file.close()

    def note(self, *, at: float, request: int, event_ids: Sequence[str], did: str, kept: bool) -> None:
        """Append a line; other processes can read it once this returns."""
        noted = LoggedRequest(at, request, list(event_ids), did, kept)
        self._file.write(json.dumps(asdict(noted), separators=(",", ":")).encode() + b"\n")
        self._file.flush()

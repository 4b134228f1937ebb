"""The log of requests: what each one carried and what was done with it, also where nothing was kept.

For whoever asks afterwards what an event cost. Not fsynced: no promise rests on it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BufferedWriter
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One line of the log. `at` is Unix time; `request` is the number that the log of events has too."""

    at: float
    request: int
    event_ids: list[str]
    """Of the batch; none where it was not read or could not be."""

    did: str
    kept: bool


def request_log_path(log_path: Path) -> Path:
    """Beside the log of accepted events."""
    return log_path.with_suffix(".requests.jsonl")


def read_requests(log_path: Path) -> Iterator[LoggedRequest]:
    """The requests so far, of the stand-in that logs its events there; one at a time, since there may be many."""
    with request_log_path(log_path).open("rb") as lines:
        for line in lines:
            # A last line without its end is being written at this moment.
            if line.endswith(b"\n"):
                yield LoggedRequest(**json.loads(line))


class RequestLog:
    def __init__(self, log_path: Path) -> None:
        self._path = request_log_path(log_path)
        self._file: BufferedWriter

    def open(self) -> None:
        """Begin anew: unlike the log of events, it is of one process."""
        self._file = self._path.open("wb")

    def close(self) -> None:
        self._file.close()

    def note(self, *, at: float, request: int, event_ids: Sequence[str], did: str, kept: bool) -> None:
        """Readable when this returns."""
        noted = LoggedRequest(at, request, list(event_ids), did, kept)
        self._file.write(json.dumps(asdict(noted), separators=(",", ":")).encode() + b"\n")
        self._file.flush()

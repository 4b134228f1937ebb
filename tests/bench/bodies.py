"""The posted JSON bodies, the same for every way."""

import json
from pathlib import Path
from typing import Any, Final

LOG_EVENT: Final = "/events.v1.EventLoggingService/LogEvent"
LOG_EVENTS: Final = "/events.v1.EventLoggingService/LogEvents"

EVENTS_OF_A_BATCH: Final = 100

PAYLOADS: Final = {"0.2 KiB": (2, 48), "4 KiB": (16, 235), "64 KiB": (64, 1000)}
"""Number of keys, and characters of each value: with names and quotes just below the size in the name."""


def usual_event() -> dict[str, Any]:
    """An event with eight texts and a number, about half a KiB."""
    texts = {f"key_{number}": "some text of a usual length" for number in range(8)}
    return {"eventName": "benchmarked", "actorId": "bench", "metadata": {**texts, "value": 3}}


def event_of(payload: str) -> dict[str, Any]:
    """An event with one of PAYLOADS as its metadata."""
    keys, characters = PAYLOADS[payload]
    return {"eventName": "benchmarked", "metadata": {f"key_{number}": "x" * characters for number in range(keys)}}


def batch() -> dict[str, Any]:
    return {"events": [usual_event()] * EVENTS_OF_A_BATCH}


def written(folder: Path, name: str, body: dict[str, Any]) -> Path:
    """Writes the body to a file for wrk, and returns its path."""
    path = folder / f"{name.replace(' ', '-')}.json"
    path.write_text(json.dumps(body))
    return path

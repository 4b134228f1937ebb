"""Measures a projection as Statsig does: in UTF-16 units of compact JSON."""

import json

from shared.events.event import Event
from shared.events.statsig_projection import project

OBJECT_LIMIT = 4096

STRING_LIMIT = 64


def units(text: str) -> int:
    """JavaScript's length of a string."""
    return len(text.encode("utf-16-le")) // 2


def compact_units(metadata: dict[str, str]) -> int:
    """The length of the stringified object, as JavaScript's `JSON.stringify` writes it."""
    return units(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")))


def warnings(projected: Event) -> list[tuple[str, str]]:
    return [(warning.field, warning.reason) for warning in project(projected).warnings]

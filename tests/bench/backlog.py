"""Writes many rows and messages as the product does, faster than through its calls."""

import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from shared.events import forward_message
from shared.events.event import EventLogRow
from tests.bench.product import opened_event_log, opened_forward_topic
from tests.support.sample_requests import normalize, sample_request

ROWS_OF_A_COMMIT: Final = 64
"""Committed one after the other: the emulator works on one commit at a time, and several abort each other. So it took
2,900 rows a second, and 1,600 with four commits of 256 at once."""

MESSAGES_OF_A_PUBLISH: Final = 1000
"""Pub/Sub's limit."""

_METADATA: Final = {**{f"key_{number}": "some text of a usual length" for number in range(8)}, "value": 3}


def new_rows(count: int) -> Iterator[EventLogRow]:
    """Rows that differ only in their event_id."""
    row = normalize(sample_request(_METADATA, event_name="benchmarked", actor_id="bench"))
    for _ in range(count):
        yield replace(row, event=replace(row.event, event_id=str(uuid.uuid4())))


async def commit(environ: Mapping[str, str], rows: Iterable[EventLogRow]) -> None:
    """Commit the rows in groups, each born pending."""
    async with opened_event_log(environ) as event_log:
        for group in _groups(rows, ROWS_OF_A_COMMIT):
            await event_log.append(group)


async def publish(environ: Mapping[str, str], rows: Iterable[EventLogRow]) -> None:
    """Publish the forward messages of the rows."""
    async with opened_forward_topic(environ) as topic:
        for group in _groups(rows, MESSAGES_OF_A_PUBLISH):
            await topic.publish([forward_message.encode(row.event) for row in group])


def _groups(rows: Iterable[EventLogRow], size: int) -> Iterator[Sequence[EventLogRow]]:
    left = iter(rows)
    while group := list(itertools.islice(left, size)):
        yield group

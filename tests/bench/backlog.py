"""Rows and messages in any number, as the product writes them, and faster than by its calls."""

import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from shared.events import forward_message
from shared.events.event import EventLogRow
from tests.bench.product import opened_event_log, opened_forward_topic
from tests.support.events import log, normalize

ROWS_OF_A_COMMIT: Final = 64
"""One commit after the other, too: the emulator works on one at a time, and several only abort each other. So it took
2,900 rows a second, with four commits of 256 at once 1,600."""

MESSAGES_OF_A_PUBLISH: Final = 1000
"""Pub/Sub's limit."""

_METADATA: Final = {**{f"key_{number}": "some text of a usual length" for number in range(8)}, "value": 3}


def new_rows(count: int) -> Iterator[EventLogRow]:
    """Rows that differ in their event_id only."""
    row = normalize(log(_METADATA, event_name="benchmarked", actor_id="bench"))
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

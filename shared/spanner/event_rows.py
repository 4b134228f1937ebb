"""Rows of the event log that are read back as events. Pure."""

from datetime import datetime
from typing import Any, Final, NamedTuple

from shared.events.event import RESERVED_METADATA_KEY, Event
from shared.events.timestamps import from_datetime
from shared.traceparent import TRACEPARENT


class EventRow(NamedTuple):
    """The columns that make an Event."""

    event_id: str
    event_name: str
    event_type: str | None
    actor_id: str | None
    event_ts: datetime
    metadata: dict[str, Any]
    caller: str | None

    def is_event(self) -> bool:
        """Whether the row makes an Event. In a row that the service did not write, the metadata may not be an object.

        The client returns every JSON value as a dict: an array or a scalar as an empty one that is not equal to `{}`, a
        null as one that is false.
        """
        return self.metadata == {} or (bool(self.metadata) and dict.__len__(self.metadata) > 0)

    def event(self) -> Event:
        """The event; call it only if `is_event`."""
        own = {key: value for key, value in self.metadata.items() if key != RESERVED_METADATA_KEY}
        # In a row that the service did not write, `_eventLog` may be anything.
        service = self.metadata.get(RESERVED_METADATA_KEY)
        traceparent = service.get(TRACEPARENT) if isinstance(service, dict) else None
        return Event(
            event_id=self.event_id,
            event_name=self.event_name,
            event_type=self.event_type,
            actor_id=self.actor_id,
            event_ts_nanos=from_datetime(self.event_ts),
            metadata=own,
            traceparent=traceparent if isinstance(traceparent, str) else None,
            caller=self.caller,
        )


EVENT_COLUMNS: Final = EventRow._fields

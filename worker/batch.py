"""One batch on its way through a lane: its claim, its messages and events, and what is decided of them so far."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.events.event import Event
from shared.events.forward_ledger import DeliveryRecord
from worker.disposition import Disposition
from worker.subscription import ReceivedMessage


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch's claim token, and when it expires."""

    token: str

    ends_at: float
    """Monotonic; not later than the expiry that Spanner has."""


@dataclass(slots=True)
class Batch:
    """Messages of the same event share its disposition."""

    claim: Claim
    is_trial: bool
    """One suspect alone."""

    dispositions: dict[str, Disposition] = field(default_factory=dict)
    """By ack_id."""

    messages: dict[str, list[ReceivedMessage]] = field(default_factory=dict)
    """By event_id."""

    events: dict[str, Event] = field(default_factory=dict)
    """By event_id."""

    recalled: dict[str, DeliveryRecord] = field(default_factory=dict)
    """Attempts under an earlier claim of this process that could not be written and are continued now. By event_id."""

    def decide(self, event_ids: Iterable[str], disposition: Disposition) -> None:
        for event_id in event_ids:
            self.dispositions |= {message.ack_id: disposition for message in self.messages[event_id]}

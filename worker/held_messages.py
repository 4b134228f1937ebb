"""Parked messages: what was pulled and cannot be sent while Statsig or Spanner is away. Their leases go on."""

import random
from collections.abc import Iterable
from typing import Final

from worker.subscription import ReceivedMessage

MAX_PARKED_MESSAGES: Final = 5_000
MAX_PARKED_BYTES: Final = 64 * 1024 * 1024
"""Beside what the lanes hold. While the circuit is open each probe brings fresh messages until this is reached."""

ROTATED_MESSAGES: Final = 50
"""Given back for fresh ones by each probe once it is reached, so that not even so many bad events can keep the circuit
open. In an outage of a day each of five thousand messages is given back some seventeen times; Pub/Sub counts to 100."""


class HeldMessages:
    """Shared by all lanes of a process."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._random = rng or random.Random()  # noqa: S311 - which message a probe takes
        self._messages: dict[str, ReceivedMessage] = {}
        self._probed: dict[str, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def room(self) -> int:
        """How many messages more there is room for."""
        return 0 if self._bytes >= MAX_PARKED_BYTES else max(0, MAX_PARKED_MESSAGES - len(self._messages))

    def park(self, messages: Iterable[ReceivedMessage]) -> None:
        for message in messages:
            if message.ack_id not in self._messages:
                self._bytes += len(message.data)
            self._messages[message.ack_id] = message

    def take(self, max_messages: int) -> list[ReceivedMessage]:
        """The oldest ones, to be worked on."""
        return [self._remove(ack_id) for ack_id in list(self._messages)[:max_messages]]

    def take_for_probe(self) -> ReceivedMessage | None:
        """One that was probed less often than others, at random: were it always the same, a bad one would do harm."""
        if not self._messages:
            return None
        # The last probe's message has come back by now, or never will.
        self._probed = {ack_id: probes for ack_id, probes in self._probed.items() if ack_id in self._messages}
        fewest = min(self._probed.get(ack_id, 0) for ack_id in self._messages)
        chosen = self._random.choice([a for a in self._messages if self._probed.get(a, 0) == fewest])
        message = self._remove(chosen, forget=False)
        self._probed[chosen] = fewest + 1
        return message

    def take_to_rotate(self) -> list[ReceivedMessage]:
        """Those that were probed most, and after them the oldest, to be given back for fresh ones."""
        by_probes = sorted(self._messages, key=lambda ack_id: -self._probed.get(ack_id, 0))
        return [self._remove(ack_id) for ack_id in by_probes[:ROTATED_MESSAGES]]

    def _remove(self, ack_id: str, *, forget: bool = True) -> ReceivedMessage:
        message = self._messages.pop(ack_id)
        self._bytes -= len(message.data)
        if forget:
            self._probed.pop(ack_id, None)
        return message

"""Held messages: pulled, still leased, and not to be sent while Statsig or Spanner is away."""

import random
from collections.abc import Iterable
from typing import Final

from worker.subscription import ReceivedMessage

MAX_HELD_MESSAGES: Final = 5_000
"""While the circuit is open each probe pulls fresh messages until this is reached. The lanes' batches come on top."""

MAX_HELD_BYTES: Final = 64 * 1024 * 1024
"""The same bound in bytes of message data."""

ROTATED_MESSAGES: Final = 50
"""Messages that a probe nacks for fresh ones once a bound is reached, so that not even thousands of bad events keep the
circuit open. In an outage of a day each of five thousand messages is nacked some seventeen times; Pub/Sub counts to
100."""


class HeldMessages:
    """One per process, shared by all lanes; for the event loop's thread. Never waits, and extends no leases itself."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._random = rng or random.Random()  # noqa: S311 - which message a probe takes
        self._messages: dict[str, ReceivedMessage] = {}
        self._probes: dict[str, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def room(self) -> int:
        """How many more messages may be pulled to be held. `add` itself refuses none."""
        return 0 if self._bytes >= MAX_HELD_BYTES else max(0, MAX_HELD_MESSAGES - len(self._messages))

    def add(self, messages: Iterable[ReceivedMessage]) -> None:
        """Hold messages until they are taken. Idempotent."""
        for message in messages:
            if message.ack_id not in self._messages:
                self._bytes += len(message.data)
            self._messages[message.ack_id] = message

    def take(self, max_messages: int) -> list[ReceivedMessage]:
        """Take the oldest messages, for a batch."""
        return [self._remove(ack_id) for ack_id in list(self._messages)[:max_messages]]

    def take_for_probe(self) -> ReceivedMessage | None:
        """Take one of the least probed messages at random: a bad event must not be probed every time."""
        if not self._messages:
            return None
        # One probe at a time: the last one's message was added again by now, or never will be.
        self._probes = {ack_id: probes for ack_id, probes in self._probes.items() if ack_id in self._messages}
        fewest = min(self._probes.get(ack_id, 0) for ack_id in self._messages)
        chosen = self._random.choice([a for a in self._messages if self._probes.get(a, 0) == fewest])
        message = self._remove(chosen, forget=False)
        self._probes[chosen] = fewest + 1
        return message

    def take_to_rotate(self) -> list[ReceivedMessage]:
        """Take the most probed messages, then the oldest, to be nacked for fresh ones."""
        by_probes = sorted(self._messages, key=lambda ack_id: -self._probes.get(ack_id, 0))
        return [self._remove(ack_id) for ack_id in by_probes[:ROTATED_MESSAGES]]

    def _remove(self, ack_id: str, *, forget: bool = True) -> ReceivedMessage:
        message = self._messages.pop(ack_id)
        self._bytes -= len(message.data)
        if forget:
            self._probes.pop(ack_id, None)
        return message

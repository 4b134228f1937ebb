"""Untried messages: set aside without an attempt, because events of their name keep failing alone.

One of them is tried alone now and then. Once an event of the name is confirmed, all others go back to the lanes: tried
alone, a few a second, they would wait for many minutes for what was often one bad moment.
"""

from collections import Counter
from collections.abc import Callable

from shared.events import forward_message
from worker.subscription import ReceivedMessage


class Untried:
    """In the order of their coming; for the event loop's thread."""

    def __init__(self, is_notorious: Callable[[str], bool]) -> None:
        """`is_notorious` says of an event name whether its events keep failing alone."""
        self._is_notorious = is_notorious
        self._waiting: dict[str, tuple[str, float, ReceivedMessage]] = {}
        """By ack_id: the event's name, and when the message was added."""
        self._names: Counter[str] = Counter()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def since(self) -> float:
        """When the oldest was added, in the caller's clock; infinite if there is none."""
        return next((at for _, at, _ in self._waiting.values()), float("inf"))

    def add(self, message: ReceivedMessage, at: float) -> None:
        # The body's name, by which the claim judges: an attribute may say anything, and the message would go back and
        # forth.
        name = forward_message.decode(message.data).event_name
        self._waiting[message.ack_id] = (name, at, message)
        self._names[name] += 1
        self.bytes += len(message.data)

    def take_oldest(self) -> ReceivedMessage:
        """Take one for a trial.

        Raises:
            StopIteration: there is none.
        """
        return self._take(next(iter(self._waiting)))

    def take_restored(self, max_messages: int) -> list[ReceivedMessage]:
        """Take the oldest whose names are not notorious any more."""
        restored = {name for name in self._names if not self._is_notorious(name)}
        if not restored:
            return []
        chosen = [ack_id for ack_id, (name, _, _) in self._waiting.items() if name in restored]
        return [self._take(ack_id) for ack_id in chosen[:max_messages]]

    def _take(self, ack_id: str) -> ReceivedMessage:
        name, _, message = self._waiting.pop(ack_id)
        self._names[name] -= 1
        if not self._names[name]:
            del self._names[name]
        self.bytes -= len(message.data)
        return message

"""Untried messages: set aside without an attempt, because events of their name keep failing alone.

One of them is tried alone now and then. Once an event of the name is confirmed, the others go back to the lanes: tried
alone, a few a second, they would wait for many minutes for what was often one bad moment.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

from shared.events import forward_message
from worker.subscription import ReceivedMessage


class Untried:
    """A queue for each event name, whose trials take turns; for the event loop's thread."""

    def __init__(self, is_notorious: Callable[[str], bool]) -> None:
        """`is_notorious` says of an event name whether its events keep failing alone."""
        self._is_notorious = is_notorious
        self._queues: OrderedDict[str, deque[tuple[float, ReceivedMessage]]] = OrderedDict()
        """By event name, in the order of their turns: when each message was added, and the message."""
        self._count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def since(self) -> float:
        """When the message whose turn it is was added, in the caller's clock; infinite if there is none."""
        return next((queue[0][0] for queue in self._queues.values()), float("inf"))

    def add(self, message: ReceivedMessage, at: float) -> None:
        # The body's name, by which the claim judges: an attribute may say anything, and the message would go back and
        # forth.
        name = forward_message.decode(message.data).event_name
        self._queues.setdefault(name, deque()).append((at, message))
        self._count += 1
        self.bytes += len(message.data)

    def take_for_trial(self) -> ReceivedMessage:
        """Take the oldest of the name whose turn it is.

        Raises:
            StopIteration: there is none.
        """
        name = next(iter(self._queues))
        self._queues.move_to_end(name)
        return self._take(name)

    def take_restored(self, max_messages: int) -> list[ReceivedMessage]:
        """Take messages whose names are not notorious any more, the oldest of each name first."""
        restored = [name for name in self._queues if not self._is_notorious(name)]
        taken: list[ReceivedMessage] = []
        for name in restored:
            while name in self._queues and len(taken) < max_messages:
                taken.append(self._take(name))
        return taken

    def _take(self, name: str) -> ReceivedMessage:
        queue = self._queues[name]
        _, message = queue.popleft()
        if not queue:
            del self._queues[name]
        self._count -= 1
        self.bytes -= len(message.data)
        return message

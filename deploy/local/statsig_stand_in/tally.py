"""What the stand-in has seen: counters since its start, and the latest events for the page."""

import time
from collections import Counter, deque
from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Any, Final

from deploy.local.statsig_stand_in.behaviours import event_id_of
from deploy.local.statsig_stand_in.event_log import LoggedEvent

EVENTS_KEPT: Final = 10_000
"""Events held in memory for the page; the log on disk has them all."""

RATE_WINDOW_SECONDS: Final = 10.0


class Tally:
    """Counts requests to log_event, their outcomes and the accepted events."""

    def __init__(self) -> None:
        self._started_at = time.time()
        self._requests = 0
        self._accepted = 0
        self._with_id = 0
        self._ids: set[str] = set()
        self._outcomes: Counter[str] = Counter()
        self._largest_batch = 0
        self._arrivals: deque[float] = deque()
        self._latest: deque[tuple[int, LoggedEvent]] = deque(maxlen=EVENTS_KEPT)

    def request(self) -> int:
        """Count a request; returns its number, from 1."""
        self._requests += 1
        self._arrivals.append(time.monotonic())
        self._forget_old_arrivals()
        return self._requests

    def batch(self, size: int) -> None:
        self._largest_batch = max(self._largest_batch, size)

    def accepted(self, events: Sequence[LoggedEvent]) -> None:
        for event in events:
            self._accepted += 1
            self._latest.append((self._accepted, event))
            event_id = event_id_of(event.event)
            if event_id is not None:
                self._with_id += 1
                self._ids.add(event_id)

    def outcome(self, word: str) -> None:
        """Count how a request ended: the status of its answer, or a word if it had none."""
        self._outcomes[word] += 1

    def stats(self) -> dict[str, Any]:
        """Duplicates are copies beyond the first of an event id; events without an id are counted apart."""
        self._forget_old_arrivals()
        return {
            "started_at": self._started_at,
            "requests": self._requests,
            "accepted": self._accepted,
            "distinct": len(self._ids),
            "duplicates": self._with_id - len(self._ids),
            "without_id": self._accepted - self._with_id,
            "outcomes": dict(sorted(self._outcomes.items())),
            "requests_per_second": len(self._arrivals) / RATE_WINDOW_SECONDS,
            "largest_batch": self._largest_batch,
        }

    def latest(self, *, limit: int, after: int) -> list[dict[str, Any]]:
        """Up to `limit` events with a `seq` above `after`, the newest first."""
        newer = takewhile(lambda numbered: numbered[0] > after, reversed(self._latest))
        return [{"seq": seq, **event.as_dict()} for seq, event in islice(newer, limit)]

    def _forget_old_arrivals(self) -> None:
        oldest = time.monotonic() - RATE_WINDOW_SECONDS
        while self._arrivals and self._arrivals[0] < oldest:
            self._arrivals.popleft()

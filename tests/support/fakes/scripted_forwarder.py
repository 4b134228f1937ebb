"""Statsig as a script: answers each attempt, and keeps the events that it accepted."""

from collections import Counter, deque
from collections.abc import Callable, Sequence

from shared.events.statsig_projection import StatsigEvent
from tests.support.fakes.scripted_failures import ScriptedFailures
from worker.statsig.outcome import SendOutcome, SendVerdict

CONFIRMED = SendOutcome(SendVerdict.CONFIRMED, 202, "http_202")
UNREACHABLE = SendOutcome(SendVerdict.TRANSIENT, None, "connection_refused")
TOO_MANY = SendOutcome(SendVerdict.TRANSIENT, 429, "http_429", 7.0)
REJECTED = SendOutcome(SendVerdict.REJECTED, 400, "http_400")
REFUSED = SendOutcome(SendVerdict.REFUSED, 401, "http_401")
UNAVAILABLE = SendOutcome(SendVerdict.AMBIGUOUS, 503, "http_503")
SERVER_ERROR = SendOutcome(SendVerdict.AMBIGUOUS, 500, "http_500")
TIMED_OUT = SendOutcome(SendVerdict.AMBIGUOUS, None, "timeout")

_TAKEN = (SendVerdict.CONFIRMED, SendVerdict.AMBIGUOUS)


class ScriptedForwarder:
    """worker.statsig.forwarder.StatsigForwarder. Attempts without a scripted answer are confirmed."""

    def __init__(self, *script: SendOutcome, failures: ScriptedFailures | None = None) -> None:
        self.script = deque(script)
        self.always: SendOutcome | None = None
        """The answer once the script is used up; None confirms."""

        self.spoilers: set[str] = set()
        """event_ids that make a whole request fail."""

        self.spoiling = REJECTED
        """The answer to a request that has a spoiler."""

        self.on_send: Callable[[], None] = lambda: None
        """Called when an attempt begins: to let time pass or open the circuit meanwhile."""

        self.failures = failures or ScriptedFailures()
        """Failures of the call `send`; hold it to have attempts that do not end."""

        self.requests: list[list[str]] = []
        self.taken: Counter[str] = Counter()
        """Copies of each event that Statsig may have: confirmed ones and ambiguous ones."""

        self.confirmed: set[str] = set()

    async def send(self, events: Sequence[StatsigEvent]) -> dict[str, SendOutcome]:
        event_ids = [event.event_id for event in events]
        self.requests.append(event_ids)
        self.on_send()
        async with self.failures.around("send"):
            if self.script:
                outcome = self.script.popleft()
            elif self.spoilers & set(event_ids):
                outcome = self.spoiling
            else:
                outcome = self.always or CONFIRMED
            if outcome.verdict in _TAKEN:
                self.taken.update(event_ids)
            if outcome.verdict is SendVerdict.CONFIRMED:
                self.confirmed.update(event_ids)
            return dict.fromkeys(event_ids, outcome)

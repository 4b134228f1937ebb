"""How the production Pub/Sub treats its clients, where the emulator is kinder: settings and counts, values only.

Where production's behaviour is documented:

- A pull returns fewer messages than asked for although more are there, and none before its time is over:
  cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/pull. An answer without messages does not mean
  that there are none: cloud.google.com/pubsub/docs/pull.
- What was handed to a client that has gone is outstanding until its ack deadline:
  cloud.google.com/pubsub/docs/lease-management; how a pull that is given up comes to it, googleapis/google-cloud-python
  issue 8087.
- Messages come in any order: cloud.google.com/pubsub/docs/publisher ("best-effort ordering").
- A message comes again before its ack deadline ends, or some seconds after it was acknowledged:
  cloud.google.com/pubsub/docs/subscribe-best-practices, cloud.google.com/pubsub/docs/exactly-once-delivery.
- Acknowledging too late is no error and may do nothing:
  cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/acknowledge.
- `delivery_attempt` is approximate, 1 at the first delivery, and 0 without a dead-letter policy:
  cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/pull.
- UNAVAILABLE and INTERNAL are to be expected, and a call without an answer may have taken effect:
  cloud.google.com/pubsub/docs/reference/error-codes.

Of how often each happens Google says nothing: the shares are ours, high enough to be met by some hundred messages.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Final, Self

Seconds = tuple[float, float]
"""The least and the most; what it is for is drawn between them."""

NONE: Final[Seconds] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """A share is a probability: 0 is never, 1 always."""

    seed: int = 0
    """Of the one source of chance. The same calls in the same order then meet the same manners."""

    call_seconds: Seconds = (0.01, 0.1)
    """That a publish or a pull takes longer."""

    ack_seconds: Seconds = (0.005, 0.05)
    """As above, an acknowledgement or a new deadline."""

    partial_share: float = 0.5
    """Of pulls that ask for several messages, those that bring at most a random part of that number."""

    empty_share: float = 0.1
    """Of pulls, those that bring nothing, whatever is there."""

    empty_seconds: Seconds = (0.0, 1.0)
    """How long such a pull takes to say so, unless its own time is over before."""

    longest_pull_seconds: float = 18.0
    """Before a pull of an empty subscription is answered. That of the same issue; Google says "a bounded time" only."""

    abandoned_keep_leases: bool = True
    """Whether a pull takes its messages before the time that it needs to answer, so that a client that goes away
    meanwhile leaves them leased."""

    abandoned_seconds: Seconds = (0.0, 0.05)
    """That a pull goes on for nobody before Pub/Sub notices that its client has gone."""

    shuffles: bool = True
    """Whether the messages of one answer are in random order."""

    late_share: float = 0.05
    """Of messages, those that a later pull brings, behind others that were published after them."""

    late_seconds: Seconds = (0.05, 0.5)
    """How much later such a message, or a copy, can come at the earliest."""

    copies_share: float = 0.01
    """Of messages, those that come a second time while they are leased, under another ack id."""

    ignored_acks_share: float = 0.005
    """Of acknowledgements, those that are answered and do nothing: the message comes again when its lease ends."""

    ignored_deadlines_share: float = 0.005
    """As above of new deadlines: a lease ends early, or a message that is given back stays leased."""

    wrong_attempts_share: float = 0.1
    """Of messages, those whose `delivery_attempt` is off by one or two."""

    counts_only_with_dead_lettering: bool = True
    """Whether `delivery_attempt` is 0 without a dead-letter policy, where the emulator may count."""

    unavailable_share: float = 0.005
    """Of calls, but those that create, change or delete topics and subscriptions."""

    internal_share: float = 0.001
    """As above."""

    unanswered_share: float = 0.5
    """Of calls that fail so, those that have taken effect."""

    limits: bool = True
    """Whether what exceeds production's limits is refused: see limits.py."""

    ack_id_chars: int = 200
    """Length of an ack id; the emulator's are short, so that no number of them meets production's limit."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name.endswith("_share") and not 0 <= value <= 1:
                raise ValueError(f"{each.name} is a share, so {value} is not between 0 and 1")
            if isinstance(value, list):  # as JSON has it
                object.__setattr__(self, each.name, tuple(value))

    @property
    def alter_pulls(self) -> bool:
        """Whether any setting concerns what a pull brings; else pulls are the emulator's own."""
        shares = (self.partial_share, self.empty_share, self.late_share, self.copies_share, self.wrong_attempts_share)
        switches = (self.abandoned_keep_leases, self.shuffles, self.counts_only_with_dead_lettering)
        return any(shares) or any(switches) or self.ack_id_chars > 0 or self.call_seconds != NONE

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Settings by name; those that are not named are the defaults.

        Raises:
            TypeError: there is no such setting.
        """
        return cls(**json.loads(text))


GOOD_DAY: Final = Manners(
    copies_share=0,
    ignored_acks_share=0,
    ignored_deadlines_share=0,
    wrong_attempts_share=0,
    unavailable_share=0,
    internal_share=0,
)
"""Slow, partial, empty and disordered, but nothing is done twice, ignored or refused: what a test of single deliveries
can be held to."""

KIND: Final = Manners(
    call_seconds=NONE,
    ack_seconds=NONE,
    partial_share=0,
    empty_share=0,
    abandoned_keep_leases=False,
    abandoned_seconds=NONE,
    shuffles=False,
    late_share=0,
    copies_share=0,
    ignored_acks_share=0,
    ignored_deadlines_share=0,
    wrong_attempts_share=0,
    counts_only_with_dead_lettering=False,
    unavailable_share=0,
    internal_share=0,
    unanswered_share=0,
    limits=False,
    ack_id_chars=0,
)
"""The emulator's own: the double changes nothing."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the double has done so far, so that a test can tell that it met what it is about."""

    calls: int = 0
    partial_pulls: int = 0
    """Answered with fewer messages than asked for, while the emulator had more."""

    empty_pulls: int = 0
    """Answered without looking."""

    left_leased: int = 0
    """Messages that were taken for a client that had gone."""

    shuffled: int = 0
    """Answers in another order than the emulator's."""

    late: int = 0
    """Messages that were held back for a later pull."""

    copies: int = 0
    """Messages that were delivered a second time while leased."""

    ignored_acks: int = 0
    """Messages, as the next."""

    ignored_deadlines: int = 0
    wrong_attempts: int = 0
    refused: int = 0
    """Calls over a limit."""

    unavailable: int = 0
    internal: int = 0
    unanswered: int = 0
    """Of these two, the calls that took effect."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))

    def as_json(self) -> str:
        return json.dumps(asdict(self))

"""How production's Pub/Sub behaves where the emulator is simpler: the settings and counts of the double.

The documentation of production's behaviour:

- A pull returns fewer messages than asked for although more are there, and none before its time is over:
  cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/pull. An answer without messages does not mean
  that there are none: cloud.google.com/pubsub/docs/pull.
- Messages that were sent to a client that has gone are outstanding until their ack deadline:
  cloud.google.com/pubsub/docs/lease-management; how a pull that is given up causes it, googleapis/google-cloud-python
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

Google does not document how often each happens. The shares are ours, high enough that some hundred messages meet each.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Final, Self

Seconds = tuple[float, float]
"""The least and the most; each value is drawn between them."""

NONE: Final[Seconds] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """A share is a probability: 0 is never, 1 always."""

    seed: int = 0
    """With the same seed, the same calls in the same order meet the same manners."""

    call_seconds: Seconds = (0.01, 0.1)
    """The delay of a publish or a pull."""

    ack_seconds: Seconds = (0.005, 0.05)
    """The delay of an acknowledgement or a new deadline."""

    partial_share: float = 0.5
    """Pulls for several messages that return at most a random part of that number."""

    empty_share: float = 0.1
    """Pulls that return nothing although messages are there."""

    empty_seconds: Seconds = (0.0, 1.0)
    """How long such a pull takes, within the client's deadline."""

    longest_pull_seconds: float = 18.0
    """How long a pull waits on an empty subscription: as in the same issue; Google documents only "a bounded time"."""

    abandoned_keep_leases: bool = True
    """Whether a pull leases its messages before its delay: a client that goes away meanwhile leaves them leased."""

    abandoned_seconds: Seconds = (0.0, 0.05)
    """How long a pull goes on before Pub/Sub notices that its client has gone."""

    shuffles: bool = True
    """Whether the messages of one answer are in random order."""

    late_share: float = 0.05
    """Messages that a later pull returns, behind others that were published after them."""

    late_seconds: Seconds = (0.05, 0.5)
    """The least delay of such a message, or of a copy."""

    copies_share: float = 0.01
    """Messages that are delivered again while they are leased, under another ack id."""

    ignored_acks_share: float = 0.005
    """Acknowledgements that are answered without effect: the message is redelivered when its lease ends."""

    ignored_deadlines_share: float = 0.005
    """New deadlines that are answered without effect: a lease ends early, or a nacked message stays leased."""

    wrong_attempts_share: float = 0.1
    """Messages whose `delivery_attempt` is off by one or two."""

    counts_only_with_dead_lettering: bool = True
    """Whether `delivery_attempt` is 0 without a dead-letter policy, where the emulator may count."""

    unavailable_share: float = 0.005
    """Calls that fail with UNAVAILABLE, except those that create, change or delete topics and subscriptions."""

    internal_share: float = 0.001
    """Calls that fail with INTERNAL, with the same exceptions."""

    unanswered_share: float = 0.5
    """Calls that fail so although they took effect."""

    limits: bool = True
    """Whether requests over production's limits are refused: see limits.py."""

    ack_id_chars: int = 200
    """Length of an ack id. The emulator's are so short that no number of them reaches production's limit."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name.endswith("_share") and not 0 <= value <= 1:
                raise ValueError(f"{each.name} is a share, so {value} is not between 0 and 1")
            if isinstance(value, list):  # as JSON has it
                object.__setattr__(self, each.name, tuple(value))

    @property
    def alter_pulls(self) -> bool:
        """Whether any setting alters pulls; otherwise the emulator answers them itself."""
        shares = (self.partial_share, self.empty_share, self.late_share, self.copies_share, self.wrong_attempts_share)
        switches = (self.abandoned_keep_leases, self.shuffles, self.counts_only_with_dead_lettering)
        return any(shares) or any(switches) or self.ack_id_chars > 0 or self.call_seconds != NONE

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Settings by name; the others have their defaults.

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
"""Slow, partial, empty and unordered, but nothing is done twice, ignored or refused: for tests that expect a single
delivery."""

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
"""The emulator's own behaviour: the double changes nothing."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the double did so far, so that a test can check that it met the manner that it tests."""

    calls: int = 0
    partial_pulls: int = 0
    """Pulls answered with fewer messages than asked for, while the emulator had more."""

    empty_pulls: int = 0
    """Pulls answered without a look at the emulator."""

    left_leased: int = 0
    """Messages that were leased to a client that had gone."""

    shuffled: int = 0
    """Answers in another order than the emulator's."""

    late: int = 0
    """Messages that were held back for a later pull."""

    copies: int = 0
    """Messages that were delivered a second time while leased."""

    ignored_acks: int = 0
    """Messages whose acknowledgement was ignored."""

    ignored_deadlines: int = 0
    """Messages whose new deadline was ignored."""

    wrong_attempts: int = 0
    refused: int = 0
    """Calls over a limit."""

    unavailable: int = 0
    internal: int = 0
    unanswered: int = 0
    """Calls that failed with one of both errors although they took effect."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))

    def as_json(self) -> str:
        return json.dumps(asdict(self))

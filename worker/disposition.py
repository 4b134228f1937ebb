"""What is to be done with a message: the vocabulary between the use case and the loops that hold its lease."""

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Final

from worker.subscription import ReceivedMessage


class Disposition(StrEnum):
    ACK = "ack"
    """Its event is settled, or nothing is left to do for it."""

    ACK_DEAD = "ack_dead"
    """Its event was dead-lettered: ack, and note that Statsig did not take it."""

    NACK = "nack"
    """Pub/Sub delivers it again after the subscription's backoff."""

    HOLD = "hold"
    """Not settled, and not because of this event: keep the lease and bring the message again when work is admitted.
    After a nack it would wait for the subscription's backoff, which grows with each delivery."""

    SET_ASIDE = "set_aside"
    """A suspect: keep the lease and bring the message again alone, for a trial."""

    SET_ASIDE_WAITING = "set_aside_waiting"
    """A suspect that may not be tried yet, by the ledger: as SET_ASIDE, and nothing was sent."""

    SET_ASIDE_UNTRIED = "set_aside_untried"
    """Not tried, because events of its name keep failing alone: keep the lease, and bring the message again alone, or
    with others once an event of that name is confirmed."""


DONE: Final = frozenset({Disposition.ACK, Disposition.ACK_DEAD})
"""The dispositions of messages that are acked."""

ForwardBatch = Callable[[Sequence[ReceivedMessage]], Awaitable[dict[str, Disposition]]]
"""Forwards a batch; returns the disposition of each message by its ack_id."""

"""The id of an event that has an idempotency key. A retried call gets the same id; pure."""

import uuid
from typing import Final

from shared.events import canonical_json
from shared.events.event import Caller, CallerSource

MAX_KEY_LENGTH: Final = 128
"""Unicode code points of an idempotency key, after trimming."""

KEY_NAMESPACE: Final = uuid.UUID("7d1d0f3c-6a0e-4f0e-9b5f-0b1f6f7a9c52")
"""The UUIDv5 namespace of idempotency keys. Changing it would make every retry a new event."""

_UNVERIFIED: Final = (CallerSource.UNVERIFIED_TOKEN, CallerSource.UNVERIFIED_HEADER)


def keyed_event_id(caller: Caller, key: str) -> str:
    """The event_id that a caller's idempotency key stands for.

    Scoped by the caller's subject, if there is one: a caller whose e-mail address changes would lose its keys, and the
    next owner of the address would share them.
    """
    return event_id_of_key(caller.subject or caller.principal, key, is_verified=caller.source not in _UNVERIFIED)


def event_id_of_key(identity: str, key: str, *, is_verified: bool) -> str:
    """The same for an identity by name: its subject, else its e-mail address, else an empty text."""
    # An identity that any caller can claim must not reach the keys of a verified one.
    scope = [not is_verified, identity, key]
    return str(uuid.uuid5(KEY_NAMESPACE, canonical_json.encode(scope).decode()))

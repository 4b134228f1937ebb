"""The id of an event with an idempotency key, which a call that is made again lands on; pure."""

import uuid
from typing import Final

from shared.events import canonical_json
from shared.events.event import Caller, CallerSource

MAX_KEY_LENGTH: Final = 128
"""Of an idempotency key, in Unicode code points, after trimming."""

KEY_NAMESPACE: Final = uuid.UUID("7d1d0f3c-6a0e-4f0e-9b5f-0b1f6f7a9c52")
"""The UUIDv5 namespace of idempotency keys. Changing it would make every retry a new event."""

_UNVERIFIED: Final = (CallerSource.UNVERIFIED_TOKEN, CallerSource.UNVERIFIED_HEADER)


def keyed_event_id(caller: Caller, key: str) -> str:
    """What a caller's key stands for. By the subject where there is one.

    An e-mail address that changes would lose its keys, one that is reused would share them.
    """
    return event_id_of_key(caller.subject or caller.principal, key, is_verified=caller.source not in _UNVERIFIED)


def event_id_of_key(identity: str, key: str, *, is_verified: bool) -> str:
    """As above, by what the identity is called: its subject, else its e-mail address, else an empty text."""
    # An identity that anyone could have claimed must not reach the keys of one that was verified.
    scope = [not is_verified, identity, key]
    return str(uuid.uuid5(KEY_NAMESPACE, canonical_json.encode(scope).decode()))

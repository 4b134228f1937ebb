"""What is known of the call in progress: filled by the interceptors and the handler, logged once at its end."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Final

from ingress.decoding.turns import Checkpoints, Slices
from shared.events.event import ANONYMOUS, Caller

_NO_SLICES: Final = Slices(Checkpoints(), "")
"""Until there is a body to work on."""


@dataclass(slots=True)
class CallContext:
    """One RPC."""

    request_id: str = field(default_factory=lambda: token_hex(16))
    """Answered as `x-request-id` and in every error's RequestInfo; finds the call in the log."""

    caller: Caller = ANONYMOUS

    is_caller_unchecked: bool = False
    """An assertion was presented that cannot be checked now: the caller is who else the headers name, or nobody."""

    slices: Slices = _NO_SLICES
    """Of what this call makes the event loop do, once its body is there."""

    log_fields: dict[str, object] = field(default_factory=dict)
    """What the handler adds to the call's log line: ids and counts, never content."""


_current: ContextVar[CallContext] = ContextVar("call")


def begin_call() -> CallContext:
    call = CallContext()
    _current.set(call)
    return call


def current_call() -> CallContext:
    """The call that this task serves; set by the outermost interceptor before anything else runs."""
    return _current.get()

"""The context of the call in progress: filled in by the interceptors and the handler, logged at the end of the call."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Final

from ingress.decoding.turns import Checkpoints, Slices
from shared.events.event import ANONYMOUS, Caller

_NO_SLICES: Final = Slices(Checkpoints(), "")
"""A placeholder until DecodingInterceptor sets the call's own."""


@dataclass(slots=True)
class CallContext:
    """One RPC."""

    request_id: str = field(default_factory=lambda: token_hex(16))
    """Answered as `x-request-id` and in every error's RequestInfo; finds the call in the log."""

    caller: Caller = ANONYMOUS

    is_caller_unchecked: bool = False
    """Whether the caller presented an IAP assertion that cannot be verified now. `caller` then comes from the other
    headers."""

    slices: Slices = _NO_SLICES
    """Divides the call's work on the event loop, so that other calls run in between."""

    event_names: Sequence[str] = ()
    """The event's name, or those of a LogEvents in their order, as they came, cut to 256 characters. Empty where the
    body did not decode; an event that did not decode alone has an empty one."""

    log_fields: dict[str, object] = field(default_factory=dict)
    """Fields that the handler and ErrorInterceptor add to the call's log line: ids, counts, reasons; never content."""


_current: ContextVar[CallContext] = ContextVar("call")


def begin_call() -> CallContext:
    """A new context, which becomes the current one of this task."""
    call = CallContext()
    _current.set(call)
    return call


def current_call() -> CallContext:
    """The call that this task serves. AccessLogInterceptor begins it before anything reads it.

    Raises:
        LookupError: no call was begun in this task.
    """
    return _current.get()

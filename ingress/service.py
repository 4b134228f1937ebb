"""The use case: log events, write-first. Knows ports and the domain, neither Connect nor Google."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingress.group_commit import GroupCommitter
from ingress.normalization import Defaults, normalize_log_event_request
from shared.clock import Clock
from shared.errors import EventLoggingError
from shared.event import Caller, EventLogRow
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from shared.statsig_projection import NAME_DROPPED, Loss, project
from shared.telemetry.tracing import current_traceparent


@dataclass(frozen=True, slots=True)
class Logged:
    """A committed event."""

    event_id: str
    duplicate: bool
    losses: tuple[Loss, ...]
    """What Statsig would not keep as it is."""


class EventLogging:
    """Normalizes, commits and has published."""

    def __init__(
        self,
        *,
        committer: GroupCommitter,
        clock: Clock,
        defaults: Defaults,
        new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._defaults = defaults
        self._new_uuid = new_uuid

    async def log(self, request: LogEventRequest, caller: Caller) -> Logged:
        """Log one event that protovalidate has passed.

        Raises:
            EventLoggingError: see GroupCommitter.commit and normalize_log_event_request.
        """
        row = self._normalize(request, caller, current_traceparent())
        return Logged(row.event.event_id, await self._committer.commit(row), _losses(row))

    async def log_many(
        self, requests: Sequence[LogEventRequest | EventLoggingError], caller: Caller
    ) -> list[Logged | EventLoggingError]:
        """Log several events at once, each with its own outcome, in their order; an error given is kept as it is."""
        traceparent = current_traceparent()
        found = [self._normalized(request, caller, traceparent) for request in requests]
        rows = [row for row in found if isinstance(row, EventLogRow)]
        committed = iter(await self._committer.commit_all(rows))
        return [_outcome(row, next(committed)) if isinstance(row, EventLogRow) else row for row in found]

    def _normalized(
        self, request: LogEventRequest | EventLoggingError, caller: Caller, traceparent: str | None
    ) -> EventLogRow | EventLoggingError:
        if isinstance(request, EventLoggingError):
            return request
        try:
            return self._normalize(request, caller, traceparent)
        except EventLoggingError as error:
            return error

    def _normalize(self, request: LogEventRequest, caller: Caller, traceparent: str | None) -> EventLogRow:
        return normalize_log_event_request(
            request,
            caller=caller,
            now_nanos=self._clock.now_nanos(),
            defaults=self._defaults,
            traceparent=traceparent,
            new_uuid=self._new_uuid,
        )


def _outcome(row: EventLogRow, committed: bool | EventLoggingError) -> Logged | EventLoggingError:
    if isinstance(committed, EventLoggingError):
        return committed
    return Logged(row.event.event_id, committed, _losses(row))


def _losses(row: EventLogRow) -> tuple[Loss, ...]:
    losses = project(row.event).losses
    if row.forward_to_statsig:
        return losses
    # Nothing goes to Statsig now; only a name that never could is worth a word.
    return tuple(loss for loss in losses if loss.reason == NAME_DROPPED)

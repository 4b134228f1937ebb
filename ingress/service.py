"""The use case: log events, write-first. Knows ports and the domain, neither Connect nor Google."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from ingress.callers.fair_share import queue_of
from ingress.callers.rate_limits import CallerRates
from ingress.commit.group_commit import GroupCommitter
from ingress.decoding.turns import Slices
from ingress.normalization import Defaults, normalize_log_event_request
from shared.clock import Clock
from shared.errors import EventLoggingError
from shared.events.event import Caller, EventLogRow
from shared.events.statsig_projection import NAME_DROPPED, ProjectionWarning, project
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from shared.telemetry.tracing import current_traceparent


@dataclass(frozen=True, slots=True)
class Logged:
    """A committed event."""

    event_id: str
    duplicate: bool
    losses: tuple[ProjectionWarning, ...]
    """What Statsig would not keep as it is."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """The call that brought an event."""

    caller: Caller
    traceparent: str | None
    request_id: str | None


class EventLogging:
    """Normalizes, commits and has published."""

    def __init__(
        self,
        *,
        committer: GroupCommitter,
        rates: CallerRates,
        clock: Clock,
        defaults: Defaults,
        new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self._committer = committer
        self._rates = rates
        self._clock = clock
        self._defaults = defaults
        self._new_uuid = new_uuid

    async def log(self, request: LogEventRequest, caller: Caller, *, request_id: str | None = None) -> Logged:
        """Log one event that protovalidate has passed.

        Raises:
            EventLoggingError: see CallerRates.admit, GroupCommitter.commit and normalize_log_event_request.
        """
        queue = queue_of(caller)
        self._rates.admit(queue, 1)
        row = self._normalize(request, _Origin(caller, current_traceparent(), request_id))
        return Logged(row.event.event_id, await self._committer.commit(row, queue), _losses(row))

    async def log_many(
        self,
        requests: list[LogEventRequest | EventLoggingError],
        caller: Caller,
        slices: Slices,
        *,
        request_id: str | None = None,
    ) -> list[Logged | EventLoggingError]:
        """Log several events at once, each with its own outcome, in their order; an error given is kept as it is.

        The list is emptied: what was decoded is let go of before the rows wait for their commit.

        Raises:
            CallerOverloadedError: more than the caller may log; nothing was written.
        """
        queue = queue_of(caller)
        self._rates.admit(queue, len(requests))
        origin = _Origin(caller, current_traceparent(), request_id)
        found = []
        requests.reverse()
        while requests:
            await slices.next_piece()
            found.append(self._normalized(requests.pop(), origin))
        rows = [row for row in found if isinstance(row, EventLogRow)]
        committed = iter(await self._committer.commit_all(rows, queue))
        outcomes = []
        for row in found:
            await slices.next_piece()
            outcomes.append(_outcome(row, next(committed)) if isinstance(row, EventLogRow) else row)
        return outcomes

    def _normalized(
        self, request: LogEventRequest | EventLoggingError, origin: _Origin
    ) -> EventLogRow | EventLoggingError:
        if isinstance(request, EventLoggingError):
            return request
        try:
            return self._normalize(request, origin)
        except EventLoggingError as error:
            return error

    def _normalize(self, request: LogEventRequest, origin: _Origin) -> EventLogRow:
        return normalize_log_event_request(
            request,
            caller=origin.caller,
            now_nanos=self._clock.now_nanos(),
            defaults=self._defaults,
            traceparent=origin.traceparent,
            request_id=origin.request_id,
            new_uuid=self._new_uuid,
        )


def _outcome(row: EventLogRow, committed: bool | EventLoggingError) -> Logged | EventLoggingError:
    if isinstance(committed, EventLoggingError):
        return committed
    return Logged(row.event.event_id, committed, _losses(row))


def _losses(row: EventLogRow) -> tuple[ProjectionWarning, ...]:
    losses = project(row.event).losses
    if row.forward_to_statsig:
        return losses
    # Nothing goes to Statsig now; only a name that never could is worth a word.
    return tuple(loss for loss in losses if loss.reason == NAME_DROPPED)

"""The use case: log events, write-first. Depends on ports and domain types, not on connectrpc or Google's clients."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from ingress.callers.fair_share import share_key_of
from ingress.callers.rate_limits import CallerRates
from ingress.commit.group_commit import GroupCommitter
from ingress.decoding.turns import Slices
from ingress.normalization import Defaults, normalize_log_event_request
from ingress.reference_cycles import without_frames
from ingress.rules import ruled
from shared.clock import Clock
from shared.errors import EventLoggingError
from shared.events.event import Caller, EventLogRow
from shared.events.statsig_projection import NAME_DROPPED, ProjectionWarning, project
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from shared.process.current_rules import CurrentRules
from shared.telemetry.tracing import current_traceparent


@dataclass(frozen=True, slots=True)
class Logged:
    """A committed event."""

    event_id: str
    duplicate: bool
    """An earlier call wrote the event, with the same key and content."""

    warnings: tuple[ProjectionWarning, ...]
    """What Statsig would cut, replace or drop (without forwarding only a name that it would drop), and what an
    operator's rule changes."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """What an event's row records of its call."""

    caller: Caller
    traceparent: str | None
    request_id: str | None


class EventLogging:
    """Admits, normalizes and commits events. The committer has them published."""

    def __init__(
        self,
        *,
        committer: GroupCommitter,
        rates: CallerRates,
        clock: Clock,
        rules: CurrentRules,
        defaults: Defaults,
        new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self._committer = committer
        self._rates = rates
        self._clock = clock
        self._rules = rules
        self._defaults = defaults
        self._new_uuid = new_uuid

    async def log(self, request: LogEventRequest, caller: Caller, *, request_id: str | None = None) -> Logged:
        """Log one event that protovalidate has passed; returns once it is committed.

        Raises:
            EventLoggingError: see CallerRates.admit, normalize_log_event_request, ruled and GroupCommitter.commit.
        """
        share_key = share_key_of(caller)
        self._rates.admit(share_key, 1)
        admitted = self._admit(request, _Origin(caller, current_traceparent(), request_id))
        return admitted.logged(duplicate=await self._committer.commit(admitted.row, share_key))

    async def log_many(
        self,
        requests: list[LogEventRequest | EventLoggingError],
        caller: Caller,
        slices: Slices,
        *,
        request_id: str | None = None,
    ) -> list[Logged | EventLoggingError]:
        """Log several events; one outcome each, in their order. An error in `requests` becomes its own outcome.

        Empties `requests`, so that the decoded events are freed before their rows wait for a commit.

        Raises:
            CallerOverloadedError: the caller is over its rate limit; nothing was written.
        """
        share_key = share_key_of(caller)
        self._rates.admit(share_key, len(requests))
        origin = _Origin(caller, current_traceparent(), request_id)
        admitted = []
        requests.reverse()
        while requests:
            await slices.next_piece()
            admitted.append(self._admitted(requests.pop(), origin))
        rows = [each.row for each in admitted if isinstance(each, _Admitted)]
        committed = iter(await self._committer.commit_all(rows, share_key))
        outcomes = []
        for each in admitted:
            await slices.next_piece()
            outcomes.append(_outcome(each, next(committed)) if isinstance(each, _Admitted) else each)
        return outcomes

    def _admitted(
        self, request: LogEventRequest | EventLoggingError, origin: _Origin
    ) -> "_Admitted | EventLoggingError":
        if isinstance(request, EventLoggingError):
            return request
        try:
            return self._admit(request, origin)
        except EventLoggingError as error:
            return without_frames(error)

    def _admit(self, request: LogEventRequest, origin: _Origin) -> "_Admitted":
        normalized = normalize_log_event_request(
            request,
            caller=origin.caller,
            now_nanos=self._clock.now_nanos(),
            defaults=self._defaults,
            traceparent=origin.traceparent,
            request_id=origin.request_id,
            new_uuid=self._new_uuid,
        )
        return _Admitted(*ruled(normalized, self._rules.active))


@dataclass(frozen=True, slots=True)
class _Admitted:
    """An event that keeps every rule, of the contract and of operators, and may be committed."""

    row: EventLogRow
    by_rule: tuple[ProjectionWarning, ...]
    """The warning about what an operator's rule changes."""

    def logged(self, *, duplicate: bool) -> Logged:
        # Of a duplicate too: the answer of the call that wrote it may be what was lost.
        return Logged(self.row.event.event_id, duplicate, _warnings(self.row) + self.by_rule)


def _outcome(admitted: _Admitted, committed: bool | EventLoggingError) -> Logged | EventLoggingError:
    return committed if isinstance(committed, EventLoggingError) else admitted.logged(duplicate=committed)


def _warnings(row: EventLogRow) -> tuple[ProjectionWarning, ...]:
    warnings = project(row.event).warnings
    if row.forward_to_statsig:
        return warnings
    # The event does not go to Statsig: only a name that Statsig would drop in any case is worth a warning.
    return tuple(warning for warning in warnings if warning.reason == NAME_DROPPED)

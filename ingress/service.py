"""The use case: log events, write-first. Knows ports and the domain, neither Connect nor Google."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio

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
        row = normalize_log_event_request(
            request,
            caller=caller,
            now_nanos=self._clock.now_nanos(),
            defaults=self._defaults,
            traceparent=current_traceparent(),
            new_uuid=self._new_uuid,
        )
        duplicate = await self._committer.commit(row)
        return Logged(row.event.event_id, duplicate, _losses(row))

    async def log_many(
        self, requests: Sequence[LogEventRequest | EventLoggingError], caller: Caller
    ) -> list[Logged | EventLoggingError]:
        """Log several events at once, each with its own outcome, in their order; an error given is kept as it is."""
        outcomes: list[Logged | EventLoggingError | None] = [None] * len(requests)

        async def log_one(index: int, request: LogEventRequest) -> None:
            try:
                outcomes[index] = await self.log(request, caller)
            except EventLoggingError as error:
                outcomes[index] = error

        async with anyio.create_task_group() as calls:
            for index, request in enumerate(requests):
                if isinstance(request, EventLoggingError):
                    outcomes[index] = request
                else:
                    calls.start_soon(log_one, index, request)
        return [outcome for outcome in outcomes if outcome is not None]


def _losses(row: EventLogRow) -> tuple[Loss, ...]:
    losses = project(row.event).losses
    if row.forward_to_statsig:
        return losses
    # Nothing goes to Statsig now; only a name that never could is worth a word.
    return tuple(loss for loss in losses if loss.reason == NAME_DROPPED)

"""DecodingInterceptor: decompresses and decodes a request's body in slices, and refuses early what cannot be valid."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from connectrpc.request import RequestContext

from ingress.call_context import current_call
from ingress.callers.fair_share import share_key_of
from ingress.decoding.budgets import DecodingBudget
from ingress.decoding.turns import Slices, Turns
from ingress.decoding.undecoded import MAX_EVENTS, DecodedEvents, Format, NotInFormatError, RawEvent, Steps, Undecoded
from ingress.http.compression import decompressed
from ingress.reference_cycles import without_frames
from shared.errors import EventLoggingError, OverloadedError, RequestTooLargeError
from shared.events.complaints import MAX_NAME
from shared.gen.events.v1.event_logging_pb import LogEventRequest

RES = TypeVar("RES")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """The settings of IngressSettings, which gives their reasons, and the contract's bound on metadata."""

    event_bytes: int
    request_bytes: int
    request_values: int
    gzip_members: int

    metadata_bytes: int
    """The most that proto/ allows, whatever the deployment's own limit. Bounds the values of one event."""


class DecodingInterceptor:
    """Passes on a LogEventRequest or DecodedEvents.

    Holds their estimated memory in the budget until the rest of the call has returned its answer.

    Raises:
        EventLoggingError: the body is malformed or too large as a whole, or there is no room for it.
    """

    def __init__(self, *, limits: BodyLimits, budget: DecodingBudget, turns: Turns) -> None:
        self._limits = limits
        self._budget = budget
        self._turns = turns

    async def intercept_unary(
        self,
        call_next: Callable[[Any, RequestContext[Any, Any]], Awaitable[RES]],
        request: Any,
        ctx: RequestContext[Any, Any],
        /,
    ) -> RES:
        body: Undecoded = request
        call = current_call()
        share_key = share_key_of(call.caller)
        slices = call.slices = Slices(self._turns, share_key)
        await slices.next_piece()
        if body.is_gzipped:
            body = await self._decompressed(body, slices)
        if not body.is_batch:
            self._check_size(body)
        weight = body.format.weight(body.data, self._limits.request_values)
        self._budget.take(share_key, weight)
        try:
            decoded = await (self._events(body, slices) if body.is_batch else self._event(body, slices))
            call.event_names = _names(decoded)
            return await call_next(decoded, ctx)
        finally:
            self._budget.release(share_key, weight)

    async def _decompressed(self, body: Undecoded, slices: Slices) -> Undecoded:
        limits = self._limits
        most = limits.request_bytes if body.is_batch else min(limits.event_bytes, limits.request_bytes)
        steps = decompressed(body.data, max_bytes=most, max_members=limits.gzip_members)
        return Undecoded(await _done(steps, slices), body.format, is_batch=body.is_batch)

    def _check_size(self, body: Undecoded) -> None:
        too_large = self._excess(body.data, body.format)
        if too_large is not None:
            raise RequestTooLargeError(too_large)

    async def _event(self, body: Undecoded, slices: Slices) -> LogEventRequest:
        try:
            decoded = body.format.decode(body.data)
            if decoded is None:
                raise await _done(body.format.explain(body.data, is_one_of_many=False), slices)
        except NotInFormatError as error:
            raise body.format.malformed(body.data, error) from None
        except MemoryError:
            raise _no_memory() from None
        return decoded

    async def _events(self, body: Undecoded, slices: Slices) -> DecodedEvents:
        raw = await self._split(body, slices)
        if len(raw) > MAX_EVENTS:
            return DecodedEvents([LogEventRequest()] * len(raw))  # validation refuses them for their number
        excesses = [self._excess(event.data, body.format) for event in raw]
        if body.format.may_have_more_values(body.data, self._limits.request_values):
            small = [event.data for event, too_large in zip(raw, excesses, strict=True) if not too_large]
            await self._count(small, body, slices)
        decoded: list[LogEventRequest | EventLoggingError] = []
        for event, too_large in zip(raw, excesses, strict=True):
            await slices.next_piece()
            if too_large is not None:
                decoded.append(RequestTooLargeError(too_large))
            else:
                decoded.append(await self._one_of_many(event, body, slices))
        return DecodedEvents(decoded)

    async def _split(self, body: Undecoded, slices: Slices) -> list[RawEvent]:
        found = []
        try:
            for event in body.format.split(body.data, self._limits.request_values):
                await slices.next_piece()
                if event is not None:
                    found.append(event)
        except NotInFormatError as error:
            raise body.format.malformed(body.data, error) from None
        return found

    async def _count(self, events: list[bytes], body: Undecoded, slices: Slices) -> None:
        values = 0
        for event in events:
            values += await _done(body.format.values(event), slices)
            if values > self._limits.request_values:
                raise RequestTooLargeError(f"has more than {self._limits.request_values} values")

    async def _one_of_many(
        self, event: RawEvent, body: Undecoded, slices: Slices
    ) -> LogEventRequest | EventLoggingError:
        try:
            decoded = body.format.decode(event.data)
            explaining = body.format.explain(event.data, is_one_of_many=True)
            return await _done(explaining, slices) if decoded is None else decoded
        except NotInFormatError as error:
            raise body.format.malformed(body.data, error, event.start) from None
        except MemoryError:
            return _no_memory()
        except EventLoggingError as error:
            return without_frames(error)

    def _excess(self, event: bytes, request_format: Format) -> str | None:
        """Why the bytes cannot be a valid event; None if they may be one. Quick: nothing is decoded."""
        if len(event) > self._limits.event_bytes:
            return f"is larger than {self._limits.event_bytes} bytes"
        most = self._limits.metadata_bytes + request_format.rest_of_marks
        if len(event) > most and request_format.marks(event) > most:
            return "has more values than metadata may have"
        return None


def _names(decoded: LogEventRequest | DecodedEvents) -> list[str]:
    """The names alone, each of bounded length: they are kept until the call ends, when its events are long freed."""
    events = decoded.events if isinstance(decoded, DecodedEvents) else (decoded,)
    return ["" if isinstance(event, EventLoggingError) else event.event_name[:MAX_NAME] for event in events]


async def _done(steps: Steps[T], slices: Slices) -> T:
    while True:
        await slices.next_piece()
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def _no_memory() -> OverloadedError:
    return OverloadedError("no memory left to decode it; nothing was written")

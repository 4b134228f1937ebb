"""The double: a gRPC server between a client and the Pub/Sub emulator that has production's manners.

    async with pubsub_double(emulators.pubsub_host, Manners(partial_share=1)) as double:
        ...                                   # PUBSUB_EMULATOR_HOST=double.address
        assert double.counts.partial_pulls

It runs in this event loop; process.py runs it as a process of its own. Topics and subscriptions are the emulator's, so
a client of the emulator itself sees the same ones.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import grpc
from google.pubsub_v1 import AcknowledgeRequest, ModifyAckDeadlineRequest

from tests.support.emulators.pubsub_manners import limits
from tests.support.emulators.pubsub_manners.ack_ids import emulators
from tests.support.emulators.pubsub_manners.chance import Chance
from tests.support.emulators.pubsub_manners.manners import Counts, Manners
from tests.support.emulators.pubsub_manners.pulling import Pulling
from tests.support.emulators.pubsub_manners.upstream import NO_LIMIT, PUBLISHER, SUBSCRIBER, Upstream

COUNTS_METHOD: Final = "/pubsub_manners/Counts"
"""A method of the double itself, for tests that run it as a process."""

FOREVER_SECONDS: Final = 3600.0
"""For a client that sets no deadline."""

_UNAVAILABLE: Final = (
    grpc.StatusCode.UNAVAILABLE,
    "The service was unable to fulfill your request. Please try again. [code=8a75]",
)
_INTERNAL: Final = (
    grpc.StatusCode.INTERNAL,
    "A service error has occurred. Please retry your request. If the error persists, please report it. [code=e8c0]",
)
"""Production's message."""

_SETTING_UP: Final = ("Create", "Delete", "Update")
"""Methods that a test calls to set up, by their beginnings: they never fail by chance."""

_OPTIONS: Final = (
    *NO_LIMIT,
    ("grpc.so_reuseport", 0),  # otherwise two doubles could share a port, and each get half of the connections
)

_CHECKS: Final[dict[str, Callable[[bytes], None]]] = {
    f"{PUBLISHER}Publish": limits.check_publish,
    f"{SUBSCRIBER}Pull": limits.check_pull,
    f"{SUBSCRIBER}Acknowledge": limits.check_acknowledge,
    f"{SUBSCRIBER}ModifyAckDeadline": limits.check_modify_ack_deadline,
}

_Answering = Callable[[bytes, Any], Awaitable[bytes]]


class PubSubDouble:
    """Created by `pubsub_double`."""

    def __init__(self, upstream: Upstream, manners: Manners) -> None:
        self.counts = Counts()
        self.address = ""
        self._upstream = upstream
        self._manners = manners
        self._chance = Chance(manners.seed)
        self.pulling = Pulling(upstream, manners, self._chance, self.counts)
        self._answering: dict[str, _Answering] = {
            f"{PUBLISHER}Publish": self._publish,
            f"{SUBSCRIBER}Acknowledge": self._acknowledge,
            f"{SUBSCRIBER}ModifyAckDeadline": self._modify_ack_deadline,
        }
        if manners.alter_pulls:
            self._answering[f"{SUBSCRIBER}Pull"] = self._pull

    def service(self, call: Any) -> Any:
        """The handler of a call; gRPC answers None with UNIMPLEMENTED."""
        if call.method == f"{SUBSCRIBER}StreamingPull":
            return None  # this project does not use it
        # Without serializers a handler takes and returns bytes.
        return grpc.unary_unary_rpc_method_handler(partial(self._serve, call.method))

    async def _serve(self, method: str, request: bytes, context: Any) -> bytes:
        if method == COUNTS_METHOD:
            return self.counts.as_json().encode()
        self.counts.calls += 1
        failure = self._failure(method)
        if failure is not None and not self._chance.hits(self._manners.unanswered_share):
            await asyncio.sleep(self._chance.seconds(self._manners.call_seconds))
            await context.abort(*failure)
        answer = await self._answer(method, request, context)
        if failure is not None:
            self.counts.unanswered += 1
            await context.abort(*failure)
        return answer

    def _failure(self, method: str) -> tuple[Any, str] | None:
        if method.rpartition("/")[2].startswith(_SETTING_UP):
            return None
        if self._chance.hits(self._manners.unavailable_share):
            self.counts.unavailable += 1
            return _UNAVAILABLE
        if self._chance.hits(self._manners.internal_share):
            self.counts.internal += 1
            return _INTERNAL
        return None

    async def _answer(self, method: str, request: bytes, context: Any) -> bytes:
        try:
            if self._manners.limits and method in _CHECKS:
                _CHECKS[method](request)
            answering = self._answering.get(method, partial(self._forward, method))
            return await answering(request, context)
        except limits.RefusedError as error:
            self.counts.refused += 1
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
        raise AssertionError("abort raises")

    async def _forward(self, method: str, request: bytes, context: Any) -> bytes:
        metadata = [(key, value) for key, value in context.invocation_metadata() if key.startswith("x-goog-")]
        return await self._upstream.call(method, request, timeout=context.time_remaining(), metadata=metadata)

    async def _pull(self, request: bytes, context: Any) -> bytes:
        return await self.pulling.pull(request, lambda: _seconds_left(context))

    async def _publish(self, request: bytes, context: Any) -> bytes:
        # Delays before and after the publish: a client that gives up may have published or not.
        before = self._chance.seconds(self._manners.call_seconds)
        after = self._chance.seconds((0.0, before))
        await asyncio.sleep(before - after)
        answer = await self._forward(f"{PUBLISHER}Publish", request, context)
        await asyncio.sleep(after)
        return answer

    async def _acknowledge(self, request: bytes, context: Any) -> bytes:
        asked = AcknowledgeRequest.pb().FromString(request)
        heeded, ignored = self._heeded(asked.ack_ids, self._manners.ignored_acks_share)
        self.counts.ignored_acks += ignored
        return await self._settle("Acknowledge", asked, heeded, context)

    async def _modify_ack_deadline(self, request: bytes, context: Any) -> bytes:
        asked = ModifyAckDeadlineRequest.pb().FromString(request)
        heeded, ignored = self._heeded(asked.ack_ids, self._manners.ignored_deadlines_share)
        self.counts.ignored_deadlines += ignored
        return await self._settle("ModifyAckDeadline", asked, heeded, context)

    def _heeded(self, ack_ids: Any, ignored_share: float) -> tuple[list[str], int]:
        leases = emulators(ack_ids)
        heeded = [each for each in leases if not self._chance.hits(ignored_share)]
        return heeded, len(leases) - len(heeded)

    async def _settle(self, name: str, asked: Any, heeded: list[str], context: Any) -> bytes:
        await asyncio.sleep(self._chance.seconds(self._manners.ack_seconds))
        if asked.ack_ids and not heeded:
            return b""  # google.protobuf.Empty
        del asked.ack_ids[:]
        asked.ack_ids.extend(heeded)
        return await self._forward(f"{SUBSCRIBER}{name}", asked.SerializeToString(), context)


def _seconds_left(context: Any) -> float:
    left = context.time_remaining()
    return FOREVER_SECONDS if left is None else max(0.0, left)


@asynccontextmanager
async def pubsub_double(upstream: str, manners: Manners, *, port: int = 0) -> AsyncIterator[PubSubDouble]:
    """Runs a double in front of the emulator at `upstream`, on a free port unless one is given.

    Raises:
        RuntimeError: the port is taken.
    """
    async with Upstream(upstream) as emulator:
        double = PubSubDouble(emulator, manners)
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((double,))
        double.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
        await server.start()
        try:
            yield double
        finally:
            await server.stop(grace=None)
            await double.pulling.close()

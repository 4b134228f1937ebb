"""grpcio against the ingress, without generated code of this project."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from shared.gen.events.v1.event_logging_pb import LogEventRequest, LogEventResponse, LogEventsRequest, LogEventsResponse
from tests.conformance.conftest import READ_TIMEOUT_SECONDS
from tests.support.wire.http1 import LOG_EVENT, LOG_EVENTS, SECONDS
from tests.support.wire.ingress import Ingress, Store

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

GOOD = LogEventRequest(event_name="grpcio", forward_to_statsig=False)
BAD = LogEventRequest(event_name="")


async def call(ingress: Ingress, data: bytes, *, method: str = LOG_EVENT, **options: Any) -> bytes:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ingress.port}") as channel:
        answer: bytes = await channel.unary_unary(method)(data, timeout=SECONDS, **options)
        return answer


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_logs_an_event(ingress: Ingress, store: Store, compression: grpc.Compression) -> None:
    answer = await call(ingress, GOOD.to_binary(), compression=compression)

    row = await store.row(LogEventResponse.from_binary(answer).event_id)
    assert row["event_name"] == "grpcio"


async def test_logs_a_batch(ingress: Ingress) -> None:
    answer = await call(ingress, LogEventsRequest(events=[GOOD, BAD] * 100).to_binary(), method=LOG_EVENTS)

    outcomes = LogEventsResponse.from_binary(answer).outcomes
    assert [one.outcome.field for one in outcomes if one.outcome] == ["logged", "error"] * 100


async def test_is_told_which_field_is_wrong(ingress: Ingress) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ingress.port}") as channel:
        calling = channel.unary_unary(LOG_EVENT)(BAD.to_binary())
        assert await calling.code() == grpc.StatusCode.INVALID_ARGUMENT
        trailers = await calling.trailing_metadata()

    status = status_pb2.Status.FromString(dict(trailers)["grpc-status-details-bin"])
    details = {detail.type_url.rpartition("/")[2]: detail.value for detail in status.details}
    bad_request = error_details_pb2.BadRequest.FromString(details["google.rpc.BadRequest"])
    assert [violation.field for violation in bad_request.field_violations] == ["event_name"]
    assert "google.rpc.RequestInfo" in details


async def test_a_method_that_is_not_there_is_unimplemented(ingress: Ingress) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(ingress, b"", method="/events.v1.EventLoggingService/LogNothing")

    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_bytes_that_are_no_message_are_its_fault(ingress: Ingress) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(ingress, b"\x0a\xff\xff")

    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_that_is_too_large_is_refused(ingress: Ingress) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(ingress, bytes(ingress.settings.max_request_bytes + 1))

    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_request_that_never_ends_is_refused_in_time(ingress: Ingress) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield GOOD.to_binary()
        await asyncio.get_running_loop().create_future()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{ingress.port}") as channel:
        started = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.stream_unary(LOG_EVENT)(requests(), timeout=SECONDS)

    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "was not received" in caught.value.details()
    assert time.monotonic() - started < READ_TIMEOUT_SECONDS + 3


async def test_a_deadline_that_passes_is_kept(ingress: Ingress) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ingress.port}") as channel:
            await channel.unary_unary(LOG_EVENT)(GOOD.to_binary(), timeout=0.0001)

    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED

"""The ASGI application: HTTP guards, connectrpc, its interceptors, and the runtime that the lifespan opens.

`create_app` is a function rather than a module-level application, so that nothing is built at import and each test
passes its own settings.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from connectrpc.interceptor import Interceptor

from ingress.callers.iap import IapVerifier
from ingress.complaints.hourly import HourlyComplaints
from ingress.complaints.noting import Complaints
from ingress.decoding.budgets import BodyBudget, DecodingBudget
from ingress.decoding.codec import lazy_codecs
from ingress.decoding.fair_turns import FairTurns
from ingress.decoding.turns import Turns
from ingress.handler import EventLoggingHandler
from ingress.http.compression import LazyGzip
from ingress.http.guard import AsgiApp, HttpGuard
from ingress.http.heads import HeadGuard
from ingress.interceptors.access_log import AccessLogInterceptor
from ingress.interceptors.auth import AuthInterceptor
from ingress.interceptors.decoding import BodyLimits, DecodingInterceptor
from ingress.interceptors.errors import ErrorInterceptor
from ingress.interceptors.proto_validation import ProtoValidationInterceptor
from ingress.reporting import Tally
from ingress.runtime import Runtime, open_runtime
from ingress.telemetry import ObservedComplaints, message_interceptors, outer_interceptors
from shared.clock import SystemClock
from shared.errors import EventLoggingError
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceASGIApplication
from shared.process.logs import get_logger
from shared.process.settings import MAX_METADATA_BYTES, IngressSettings
from shared.telemetry.providers import Telemetry

T = TypeVar("T")

_log = get_logger()


def create_app(settings: IngressSettings, telemetry: Telemetry | None = None) -> AsgiApp:
    """The ingress as one ASGI application. Its lifespan opens and closes the runtime; no call is served outside it.

    With telemetry, calls, commits and publishes are traced and measured.
    """
    opened: list[Runtime] = []
    tally = Tally()
    counted = HourlyComplaints(SystemClock())
    complaints = Complaints(ObservedComplaints(counted, telemetry) if telemetry else counted)
    turns = FairTurns()

    async def lifespan() -> AsyncGenerator[EventLoggingHandler, None]:
        try:
            async with in_own_task(open_runtime(settings, telemetry, tally, turns, counted)) as runtime:
                opened[:] = [runtime]
                yield EventLoggingHandler(runtime.service, tally, complaints)
        except EventLoggingError as error:
            _log.error("start_failed", reason=error.reason, error=str(error))
            raise

    async def is_ready() -> bool:
        return await opened[0].readiness.check()

    rpc = EventLoggingServiceASGIApplication(
        lifespan(),
        interceptors=_interceptors(settings, telemetry, turns, ErrorInterceptor(tally, complaints)),
        read_max_bytes=settings.max_request_bytes,
        codecs=lazy_codecs(),
        compressions=(LazyGzip(),),
    )
    heads = HeadGuard(
        rpc,
        body_bytes={
            f"{rpc.path}/LogEvent": min(settings.max_event_bytes, settings.max_request_bytes),
            f"{rpc.path}/LogEvents": settings.max_request_bytes,
        },
        budget=BodyBudget(settings.max_body_bytes_in_flight),
    )
    return HttpGuard(heads, is_ready=is_ready, read_timeout_seconds=settings.request_read_timeout_seconds)


def _interceptors(
    settings: IngressSettings, telemetry: Telemetry | None, turns: Turns, errors: ErrorInterceptor
) -> tuple[Interceptor, ...]:
    """All interceptors, in their order of start. They end in reverse, so that spans and logs have the caller's code."""
    clock = SystemClock()
    verifier = IapVerifier(audience=settings.iap_audience, clock=clock) if settings.iap_audience else None
    limits = BodyLimits(
        request_bytes=settings.max_request_bytes,
        gzip_members=settings.max_gzip_members,
        event_bytes=settings.max_event_bytes,
        metadata_bytes=MAX_METADATA_BYTES,
        request_values=settings.max_request_values,
    )
    return (
        *(outer_interceptors(telemetry) if telemetry else ()),
        AccessLogInterceptor(clock),
        errors,
        AuthInterceptor(verifier=verifier, trust_cloud_run_iam=settings.trust_cloud_run_iam),
        DecodingInterceptor(limits=limits, budget=DecodingBudget(settings.max_decoded_bytes), turns=turns),
        *(message_interceptors() if telemetry else ()),
        ProtoValidationInterceptor(),
    )


@asynccontextmanager
async def in_own_task(manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context manager in a task of its own.

    The runtime holds a task group, which must be left by the task that entered it. An ASGI lifespan that is an async
    generator does not guarantee that, and must not hold a task group across its yield.
    """
    entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def hold() -> None:
        try:
            async with manager as value:
                entered.set_result(value)
                await leave.wait()
        except BaseException as error:
            if not entered.done():
                entered.set_exception(error)
                return
            if not leave.is_set():  # it ended by itself: without it no call can be served, so end the process too
                _log.exception("runtime_failed")
                signal.raise_signal(signal.SIGTERM)
            raise

    task = asyncio.create_task(hold())
    try:
        yield await entered
    finally:
        leave.set()
        await task

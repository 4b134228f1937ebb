"""Opens a process's telemetry, which goes to an OTLP receiver or nowhere."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.telemetry.metrics import SCOPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

    from shared.process.settings import Settings

SHUTDOWN_SECONDS: Final = 1.0
"""How long the last export may take. With the 7 s of the rest of a shutdown it stays below Cloud Run's 10 s."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The providers of a process's spans and metrics."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider

    @property
    def tracer(self) -> Tracer:
        return self.tracer_provider.get_tracer(SCOPE)

    @property
    def meter(self) -> Meter:
        return self.meter_provider.get_meter(SCOPE)


@contextmanager
def open_telemetry(
    settings: Settings, *, process: str, flush_seconds: float = SHUTDOWN_SECONDS
) -> Iterator[Telemetry | None]:
    """Yield telemetry for one process, or None if no receiver is set; flush it within `flush_seconds` at the end.

    A receiver that is down loses what could not be exported, and has no other effect.

    Raises:
        SettingsError: the receiver is Google's, and there are no credentials for it.
    """
    if settings.otel_exporter_otlp_endpoint is None:
        yield None
        return
    from shared.telemetry.exporting import telemetry_to  # noqa: PLC0415 - see there

    telemetry = telemetry_to(settings.otel_exporter_otlp_endpoint.rstrip("/"), settings, process=process)
    try:
        yield telemetry
    finally:
        _within(flush_seconds, telemetry.tracer_provider.shutdown, telemetry.meter_provider.shutdown)


def _within(seconds: float, *calls: Callable[[], None]) -> None:
    """Run the calls concurrently on daemon threads and wait for them for at most `seconds`."""
    threads = [threading.Thread(target=call, name="telemetry-shutdown", daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))

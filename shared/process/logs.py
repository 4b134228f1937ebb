"""Logging: one JSON object per line with Cloud Logging's fields, or a console form for people.

Log events are static names with fields. Never log a payload, a secret or a caller's metadata.
"""

import json
import logging
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.process.log_handler import LineHandler, LineLogger, LineWriter
from shared.traceparent import TRACEPARENT

_SEVERITY: Final = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR",
                    "critical": "CRITICAL"}  # fmt: skip
"""Cloud Logging's name of each level (cloud.google.com/logging/docs/structured-logging)."""

NOISY_LIBRARIES: Final = ("statsig.sdk", "urllib3", "google", "grpc", "asyncio")
"""Libraries that log failures which the adapters log too, some with addresses and payloads."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()


def configure_logging(
    *,
    process: str,
    log_format: Literal["json", "console"],
    level: str,
    project: str = "",
    stream: TextIO | None = None,
) -> None:
    """Send all logs, those of the standard library's loggers included, to the stream (stdout) in one format.

    Replaces the root logger's handlers. A line that belongs to a sampled trace has Cloud Logging's trace fields, which
    need `project`, the Google Cloud project of the traces. Long because it shows the whole pipeline in one place.
    """
    stream = stream or sys.stdout
    is_json = log_format == "json"
    writer = LineWriter(stream, report_dropped=_report_dropped)
    shared: list[Processor] = [
        partial(_process_and_trace, process, project),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info if is_json else _untouched,
    ]
    renderer: list[Processor] = (
        [_cloud_logging_fields, structlog.processors.JSONRenderer(serializer=_json)]
        if is_json
        else [structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time")]
    )
    handler = LineHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer, _text],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=lambda *_: LineLogger(writer),
        cache_logger_on_first_use=True,
    )


def get_logger() -> Any:
    """A structlog logger. Bound lazily, so it can be made before `configure_logging`."""
    return structlog.get_logger()


def log_each(log: Any, event: str, event_ids: Iterable[str]) -> None:
    """Log a debug line for each event. Does not touch `event_ids` unless LOG_LEVEL is DEBUG."""
    if log.is_enabled_for(logging.DEBUG):
        for event_id in event_ids:
            log.debug(event, event_id=event_id)


def _report_dropped(lines: int) -> None:
    get_logger().error("log_lines_dropped", lines=lines)  # ERROR, which no LOG_LEVEL filters out


def _untouched(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    return event_dict


def _process_and_trace(
    process: str, project: str, _logger: WrappedLogger, _method: str, event_dict: EventDict
) -> EventDict:
    """Add the process, and the trace of the line's `traceparent` if it has one, else of the current span."""
    event_dict["process"] = process
    span = _sampled_span(event_dict.pop(TRACEPARENT, None))
    if span is not None:
        event_dict["logging.googleapis.com/trace"] = f"projects/{project}/traces/{span.trace_id:032x}"
        event_dict["logging.googleapis.com/spanId"] = f"{span.span_id:016x}"
        event_dict["logging.googleapis.com/trace_sampled"] = True
    return event_dict


def _sampled_span(traceparent: str | None) -> SpanContext | None:
    context = _PROPAGATOR.extract({TRACEPARENT: traceparent}, Context()) if traceparent else None
    span = trace.get_current_span(context).get_span_context()
    return span if span.trace_flags.sampled else None


def _cloud_logging_fields(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    event_dict["severity"] = _SEVERITY[event_dict.pop("level")]
    event_dict["message"] = event_dict.pop("event")
    return event_dict


def _json(event_dict: EventDict, **options: Any) -> bytes:
    try:
        return orjson.dumps(event_dict, **options)
    except TypeError:
        # A value that has no UTF-8 form or more than 64 bits, such as a file name with undecodable bytes.
        return json.dumps(event_dict, **options).encode()


def _text(_logger: WrappedLogger, _method: str, line: Any) -> str:
    """The rendered line as a string, which the standard library's formatter needs."""
    return line.decode() if isinstance(line, bytes) else line

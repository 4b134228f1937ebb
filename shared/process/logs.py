"""Logging: one JSON object a line in Cloud Logging's fields, or a console form for people.

Events are static names with fields. Never a payload, a secret or a caller's metadata.
"""

import json
import logging
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.process.log_handler import LineHandler, LineLogger, LineWriter
from shared.telemetry.tracing import TRACEPARENT, current_traceparent, span_context_of

_SEVERITY: Final = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR",
                    "critical": "CRITICAL"}  # fmt: skip
"""Cloud Logging's name of each level (cloud.google.com/logging/docs/structured-logging)."""

NOISY_LIBRARIES: Final = ("statsig.sdk", "urllib3", "google", "grpc", "asyncio")
"""Libraries whose own account of a failure repeats what the adapters log, some with addresses and payloads."""


def configure_logging(
    *,
    process: str,
    log_format: Literal["json", "console"],
    level: str,
    project: str = "",
    stream: TextIO | None = None,
) -> None:
    """Send everything, the standard library's loggers included, to the stream (stdout) in one format.

    A line of a recorded trace names it in Cloud Logging's fields. `project` is where the traces are.
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
    """A structlog logger. Bound lazily, so it may be made before `configure_logging`."""
    return structlog.get_logger()


def log_each(log: Any, event: str, event_ids: Iterable[str]) -> None:
    """A debug line for each event; where nobody reads those, nothing is gone through."""
    if log.is_enabled_for(logging.DEBUG):
        for event_id in event_ids:
            log.debug(event, event_id=event_id)


def _report_dropped(lines: int) -> None:
    get_logger().error("log_lines_dropped", lines=lines)  # passes whatever LOG_LEVEL says


def _untouched(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    return event_dict


def _process_and_trace(
    process: str, project: str, _logger: WrappedLogger, _method: str, event_dict: EventDict
) -> EventDict:
    """The process, and the trace that the line names, else the one that is current."""
    event_dict["process"] = process
    span = span_context_of(event_dict.pop(TRACEPARENT, None) or current_traceparent())
    if span is not None:
        event_dict["logging.googleapis.com/trace"] = f"projects/{project}/traces/{span.trace_id:032x}"
        event_dict["logging.googleapis.com/spanId"] = f"{span.span_id:016x}"
        event_dict["logging.googleapis.com/trace_sampled"] = True
    return event_dict


def _cloud_logging_fields(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    event_dict["severity"] = _SEVERITY[event_dict.pop("level")]
    event_dict["message"] = event_dict.pop("event")
    return event_dict


def _json(event_dict: EventDict, **options: Any) -> bytes:
    try:
        return orjson.dumps(event_dict, **options)
    except TypeError:
        # What UTF-8 or 64 bits do not hold, such as a file's name that is no text.
        return json.dumps(event_dict, **options).encode()


def _text(_logger: WrappedLogger, _method: str, line: Any) -> str:
    """For the standard library's formatter, which takes no bytes."""
    return line.decode() if isinstance(line, bytes) else line

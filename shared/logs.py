"""Logging: one JSON object a line in Cloud Logging's fields, or a console form for people.

Events are static names with fields. Never a payload, a secret or a caller's metadata.
"""

import logging
import sys
from functools import partial
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.log_handler import UnblockedHandler
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
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        partial(_trace_fields, project),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info if log_format == "json" else _untouched,
    ]
    renderer: list[Processor] = (
        [_cloud_logging_fields, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time")]
    )
    handler = UnblockedHandler(stream, report_dropped=_report_dropped)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


def get_logger() -> Any:
    """A structlog logger. Bound lazily, so it may be made before `configure_logging`."""
    return structlog.get_logger()


def _report_dropped(lines: int) -> None:
    get_logger().error("log_lines_dropped", lines=lines)  # passes whatever LOG_LEVEL says


def _untouched(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    return event_dict


def _trace_fields(project: str, _logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Of the trace that the line names, else of the one that is current."""
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

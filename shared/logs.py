"""Logging: one JSON object a line in Cloud Logging's fields, or a console form for people.

Events are static names with fields. Never a payload, a secret or a caller's metadata.
"""

import logging
import sys
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SEVERITY: Final = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR",
                    "critical": "CRITICAL"}  # fmt: skip
"""Cloud Logging's name of each level (cloud.google.com/logging/docs/structured-logging)."""

NOISY_LIBRARIES: Final = ("statsig.sdk", "urllib3", "google", "grpc", "asyncio")
"""Libraries whose own account of a failure repeats what the adapters log, some with addresses and payloads."""


def configure_logging(
    *, process: str, log_format: Literal["json", "console"], level: str, stream: TextIO | None = None
) -> None:
    """Send everything, the standard library's loggers included, to the stream (stdout) in one format."""
    stream = stream or sys.stdout
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info if log_format == "json" else _untouched,
    ]
    renderer: list[Processor] = (
        [_cloud_logging_fields, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time")]
    )
    handler = logging.StreamHandler(stream)
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


def _untouched(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    return event_dict


def _cloud_logging_fields(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    event_dict["severity"] = _SEVERITY[event_dict.pop("level")]
    event_dict["message"] = event_dict.pop("event")
    return event_dict

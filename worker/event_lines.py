"""The log lines of single events, which only LOG_LEVEL=DEBUG shows."""

import logging
from collections.abc import Iterable

from shared.logs import get_logger

_log = get_logger()


def log_each(line: str, event_ids: Iterable[str]) -> None:
    """A line for each event. The level is asked once: five hundred calls that log nothing take time too."""
    if _log.is_enabled_for(logging.DEBUG):
        for event_id in event_ids:
            _log.debug(line, event_id=event_id)

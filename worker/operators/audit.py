"""The audit line: who did what to which events, as one JSON object on stderr."""

import getpass
import os
from collections.abc import Mapping
from typing import Any

from shared.process.logs import get_logger

_log = get_logger()


def note_action(command: str, *, choice: Mapping[str, Any], count: int | None, dry_run: bool) -> None:
    """Write the line. Called before the command acts, so that the line is there however the command ends.

    `count` is the number of events that the command is about to act on, None where they could not be counted.
    """
    _log.info(
        "operator_action",
        command=command,
        who=_user(),
        google_account=os.environ.get("CLOUDSDK_CORE_ACCOUNT"),
        filter=dict(choice),
        count=count,
        dry_run=dry_run,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container has no entry for the user; KeyError before Python 3.13
        return f"uid {os.getuid()}"

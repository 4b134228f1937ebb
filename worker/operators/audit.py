"""The audit: who did what, as one JSON object on stderr, and as a row where the command changes more than dead letters.

Neither names an actor.
"""

import getpass
import os
import socket
from collections.abc import Mapping
from typing import Any, Final

from shared.events.audit_trail import AuditEntry
from shared.process.logs import get_logger

MAX_WHO: Final = 320
"""As the column is long."""

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


def audit_entry(command: str, *, why: str | None, detail: Mapping[str, Any]) -> AuditEntry:
    """The entry of the audit trail for what this command does now."""
    return AuditEntry(who=who(), command=command, why=why, detail=dict(detail))


def who() -> str:
    """The Google account that gcloud was told to use, else the user on this machine."""
    return (os.environ.get("CLOUDSDK_CORE_ACCOUNT") or f"{_user()}@{socket.gethostname()}")[:MAX_WHO]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container has no entry for the user; KeyError before Python 3.13
        return f"uid {os.getuid()}"

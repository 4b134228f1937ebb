"""An event's rows as written from the schema alone: by the other ways, and by the bare commits."""

import uuid
from datetime import UTC, datetime
from typing import Any, Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

LOG_TABLE: Final = "NestEventLog"
LOG_COLUMNS: Final = ("event_id", "event_name", "event_ts", "ingested_at", "metadata", "forward_to_statsig",
                      "request_digest", "write_id", "log_shard")  # fmt: skip

LEDGER_TABLE: Final = "NestEventForward"
LEDGER_COLUMNS: Final = ("event_id", "state", "pending_since", "forward_shard")

SHARDS: Final = 32

_DIGEST: Final = "0" * 64
_WRITE_ID: Final = str(uuid.UUID(int=0))
"""Values of columns that must be set, and that only the product uses."""


def log_row(event_id: str, event_name: str, metadata: str) -> tuple[Any, ...]:
    """Values in the order of LOG_COLUMNS."""
    shard = _shard(event_id)
    return (event_id, event_name, datetime.now(UTC), COMMIT_TIMESTAMP, metadata, True, _DIGEST, _WRITE_ID, shard)


def ledger_row(event_id: str) -> tuple[Any, ...]:
    """Values in the order of LEDGER_COLUMNS."""
    return (event_id, "PENDING", COMMIT_TIMESTAMP, _shard(event_id))


def _shard(event_id: str) -> int:
    return uuid.UUID(event_id).int % SHARDS

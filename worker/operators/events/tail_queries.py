"""The queries of `nest-events tail`; pure.

Each reads what came into an index by time after `@begin` and until `@end`, in every shard. The shards come from an
array, so that each is a range of its own in the index. APPLY_JOIN joins by key: a hash join would read whole tables.
"""

from typing import Any, Final

from google.cloud.spanner_v1 import param_types

from shared.events.forward_ledger import LEDGER_TABLE, ForwardState
from shared.spanner.event_log import EVENTS_BY_TIME, LOG_TABLE
from shared.spanner.forward_ledger_rows import DEAD_INDEX, PENDING_INDEX
from worker.operators.events.tail_events import TailChoice

# Without the hint the emulator refuses to force a NULL-filtered index.
_HINT: Final = "@{spanner_emulator.disable_query_null_filtered_index_check=true} "

_ACCEPTED: Final = f"""
SELECT e.ingested_at AS came_at, e.event_id, e.event_name, e.caller, e.forward_to_statsig
FROM {EVENTS_BY_TIME} AND e.ingested_at > @begin AND e.ingested_at <= @end"""  # noqa: S608 - constants

_FILTERS: Final = {
    "event_name": "e.event_name = @event_name",
    "name_prefix": "STARTS_WITH(e.event_name, @name_prefix)",
    "caller": "e.caller = @caller",
}

_TYPES: Final = {
    "shards": param_types.Array(param_types.INT64),
    "begin": param_types.TIMESTAMP,
    "end": param_types.TIMESTAMP,
    "limit": param_types.INT64,
}


def rows_query(choice: TailChoice) -> str:
    """The latest `@limit` of the chosen events, in no order, with what their two rows have of them."""
    latest = f"SELECT * FROM ({_chosen(choice)}) ORDER BY came_at DESC LIMIT @limit"  # noqa: S608 - constants
    if _is_by_log(choice):
        return f"""
SELECT c.came_at, c.event_id, c.event_name, c.caller, c.forward_to_statsig, f.state, f.last_reason
FROM ({latest}) AS c LEFT JOIN@{{JOIN_METHOD=APPLY_JOIN}} {LEDGER_TABLE} AS f ON f.event_id = c.event_id"""  # noqa: S608
    return f"""{_HINT}
SELECT c.came_at, c.event_id, e.event_name, e.caller, e.forward_to_statsig, c.state, c.last_reason
FROM ({latest}) AS c JOIN@{{JOIN_METHOD=APPLY_JOIN}} {LOG_TABLE} AS e ON e.event_id = c.event_id"""  # noqa: S608


def count_query(choice: TailChoice) -> str:
    """How many the chosen events are."""
    hint = "" if _is_by_log(choice) else _HINT
    return f"{hint}SELECT COUNT(*) FROM ({_chosen(choice)})"  # noqa: S608 - constants


def values_of(choice: TailChoice, **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of a query, and their types."""
    given = _given(choice)
    return given | values, dict.fromkeys(given, param_types.STRING) | {name: _TYPES[name] for name in values}


def _chosen(choice: TailChoice) -> str:
    conditions = [_FILTERS[name] for name in _given(choice)]
    if _is_by_log(choice):
        if choice.state is ForwardState.DELIVERED:
            conditions.append("e.forward_to_statsig")
        return _ACCEPTED + _where(conditions)
    entered = _DEAD if choice.state is ForwardState.DEAD else _PENDING
    if not conditions:
        return entered
    return f"""
SELECT f.* FROM ({entered}) AS f
JOIN@{{JOIN_METHOD=APPLY_JOIN}} {LOG_TABLE} AS e ON e.event_id = f.event_id{_where(conditions)}"""  # noqa: S608


def _is_by_log(choice: TailChoice) -> bool:
    """Whether the events are found when they are accepted: delivered ones have no index by time."""
    return choice.state in (None, ForwardState.DELIVERED)


def _given(choice: TailChoice) -> dict[str, str]:
    return {name: value for name in _FILTERS if (value := getattr(choice, name)) is not None}


def _where(conditions: list[str]) -> str:
    return f"\nWHERE {' AND '.join(conditions)}" if conditions else ""


def _entered(index: str, shard: str, time: str) -> str:
    """The events that came into an index of the ledger."""
    return f"""
SELECT f.{time} AS came_at, f.event_id, f.state, f.last_reason
FROM UNNEST(@shards) AS shard
JOIN@{{JOIN_METHOD=APPLY_JOIN}} {LEDGER_TABLE}@{{FORCE_INDEX={index}}} AS f
  ON f.{shard} = shard AND f.{time} > @begin AND f.{time} <= @end"""  # noqa: S608 - constants


_PENDING: Final = _entered(PENDING_INDEX, "forward_shard", "pending_since")
_DEAD: Final = _entered(DEAD_INDEX, "dead_shard", "settled_at")

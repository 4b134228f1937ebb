"""All rows, in the order of the matrix."""

from string import ascii_lowercase
from typing import Final

from tests.faults.row import Row
from tests.faults.rows_adversary import ADVERSARY_ROWS
from tests.faults.rows_backlog import BACKLOG_ROWS
from tests.faults.rows_clock import CLOCK_ROWS
from tests.faults.rows_collecting import COLLECTING_ROWS
from tests.faults.rows_ingress import INGRESS_ROWS
from tests.faults.rows_kept import KEPT_ROWS
from tests.faults.rows_load import LOAD_ROWS
from tests.faults.rows_memory import MEMORY_ROWS
from tests.faults.rows_outage import OUTAGE_ROWS
from tests.faults.rows_poison import POISON_ROWS
from tests.faults.rows_process import PROCESS_ROWS
from tests.faults.rows_rate import RATE_ROWS
from tests.faults.rows_reconciler import RECONCILER_ROWS
from tests.faults.rows_rules import RULE_ROWS
from tests.faults.rows_scenarios import SCENARIO_ROWS
from tests.faults.rows_statsig import STATSIG_ROWS
from tests.faults.rows_worker import WORKER_ROWS

_KINDS: Final = "FSA"
"""The first letters of ids: faults, long scenarios, the adversary."""


def _place(row: Row) -> tuple[int, int, str]:
    digits = row.id.lstrip(_KINDS).rstrip(ascii_lowercase)
    return _KINDS.index(row.id[0]), int(digits), row.id


ROWS: Final = tuple(
    sorted(
        (
            *INGRESS_ROWS,
            *LOAD_ROWS,
            *MEMORY_ROWS,
            *PROCESS_ROWS,
            *CLOCK_ROWS,
            *RECONCILER_ROWS,
            *WORKER_ROWS,
            *STATSIG_ROWS,
            *COLLECTING_ROWS,
            *POISON_ROWS,
            *KEPT_ROWS,
            *OUTAGE_ROWS,
            *BACKLOG_ROWS,
            *RATE_ROWS,
            *RULE_ROWS,
            *SCENARIO_ROWS,
            *ADVERSARY_ROWS,
        ),
        key=_place,
    )
)


def chosen(ids: str) -> tuple[Row, ...]:
    """Rows by ids, or by the matrix's groups (`F10` is F10a, F10b and F10c), separated by commas; none means all.

    Raises:
        ValueError: there is no such row.
    """
    if not ids:
        return ROWS
    # Each row once, also where F51 and F51b are both named: two runs would share a folder.
    rows: dict[str, Row] = {}
    for one in ids.split(","):
        found = [row for row in ROWS if one in (row.id, row.id.rstrip(ascii_lowercase))]
        if not found:
            raise ValueError(f"no row {one}")
        rows |= {row.id: row for row in found}
    return tuple(rows.values())

"""A limit: commits of event log rows and their ledger rows alone, by the async client."""

import os
import uuid

import uvloop

from shared.spanner.connection import ABORTED_RETRY_SECONDS
from tests.bench.backlog import new_rows
from tests.bench.limits.arguments import Arguments, arguments
from tests.bench.limits.closed_loop import measured, tell
from tests.bench.product import opened_database
from tests.bench.rows import LEDGER_COLUMNS, LEDGER_TABLE, LOG_COLUMNS, LOG_TABLE, ledger_row, log_row


async def main(chosen: Arguments) -> None:
    metadata = next(new_rows(1)).metadata_json
    async with opened_database(os.environ) as database:

        async def commit() -> int:
            event_ids = [str(uuid.uuid4()) for _ in range(chosen.events)]
            async with database.batch(default_retry_delay=ABORTED_RETRY_SECONDS) as batch:
                rows = [log_row(event_id, "benchmarked", metadata) for event_id in event_ids]
                batch.insert(LOG_TABLE, LOG_COLUMNS, rows)
                batch.insert(LEDGER_TABLE, LEDGER_COLUMNS, [ledger_row(event_id) for event_id in event_ids])
            return chosen.events

        tell(await measured(commit, in_flight=chosen.in_flight, seconds=chosen.seconds))


if __name__ == "__main__":
    uvloop.run(main(arguments(__doc__)))

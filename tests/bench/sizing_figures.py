"""The figures that the tables of deploy/SIZING.md are reckoned from.

Each says where it comes from: counted in the code (tests/unit/deploy/test_sizing.py counts again), documented (on the
page, as it was stored or quoted on the date), or assumed.
"""

from typing import Final

AVERAGES: Final = (100, 1_000, 10_000, 100_000, 1_000_000)
"""Events a second, on average: each is a row of the tables."""

PEAK: Final = 3
"""Assumed: the busiest minute has three times the average."""

HEADROOM: Final = 0.6
"""Assumed: the share of a vCPU that is planned with. The rest is for deployments, retries and a slower processor."""

MONTH_SECONDS: Final = 730 * 3600
"""As Google reckons one (cloud.google.com/spanner/docs/cuds)."""

# Counted in the code, for the bench's usual event.

ROWS_WRITTEN: Final = 7
"""Log row and its entry by time, ledger row and its pending entry; the claim; the settled ledger row and the end of its
pending entry. Nothing of NestEventForwardDead, unless the event ends DEAD."""

ROWS_READ: Final = 1
"""The ledger row, by the claim."""

PENDING_WRITES: Final = 2
"""Writes of the seven at the end of a shard of NestEventForwardPending."""

TIME_WRITES: Final = 1
"""Writes of the seven at the end of a shard of NestEventLogByTime."""

# A row, or an index entry with what it stores, as Spanner keeps it: each value and 8 bytes
# (cloud.google.com/spanner/docs/reference/standard-sql/data-types).

LOG_BYTES: Final = 758
"""A log row. It is never deleted."""

TIME_ENTRY_BYTES: Final = 176
"""The log row's entry by time. It is never deleted."""

LEDGER_BYTES: Final = 360
"""A ledger row. It is deleted 90 days after it was settled."""

MESSAGE_BYTES: Final = 650
"""A forward message as Pub/Sub bills it: body, attributes, 20 for its time, some 18 for its id."""

LINE_BYTES: Final = 343
"""The log line of a call."""

# A Spanner node, in one region and on SSD. Its rates are rows of 1 KB a second at 100 % CPU
# (cloud.google.com/spanner/docs/performance, August 2026).

NODE_WRITES: Final = 3_500

NODE_BATCHED_WRITES: Final = 22_500
"""With commits batched by a commit delay of 100 ms."""

NODE_READS: Final = 22_500

NODE_CPU: Final = 0.65
"""The most that is recommended (cloud.google.com/spanner/docs/cpu-utilization)."""

NODE_STORED_BYTES: Final = 10 * 2**40
"""cloud.google.com/spanner/quotas; 100 processing units have a tenth of it."""

NODE_HOUR: Final = 0.90
"""$, us-central1, Standard (cloud.google.com/spanner/docs/cuds, August 2026)."""

STORED_GB_MONTH: Final = 3 * 0.10
"""$, three replicas (cloud.google.com/spanner, August 2026)."""

BACKUP_GB_MONTH: Final = 0.10
"""$, all replicas (as above). Each full backup is a whole one (cloud.google.com/spanner/docs/backup)."""

NODE_UNITS: Final = 1_000
"""Processing units of a node."""

# Cloud Run and Cloud Logging.

INGRESS_SECOND: Final = 1 * 0.000018 + 2 * 0.000002
"""$, 1 vCPU and 2 GiB, billed by the instance (cloud.google.com/run/pricing, quoted in 2026)."""

WORKER_SECOND: Final = 1 * 0.000011244 + 1 * 0.000001235
"""$, 1 vCPU and 1 GiB of a worker pool (cloud.google.com/run/pricing, quoted in 2026)."""

LOGGED_GIB: Final = 0.50
"""$, beyond the free ones (cloud.google.com/stackdriver/pricing, quoted on 12 September 2026)."""

FREE_LOGGED_GIB: Final = 50
"""Free each month (as above)."""

# Pub/Sub.

TOPIC_BYTES: Final = 4_000_000_000
"""Bytes a second that may be published in a large region, and as many pulled (cloud.google.com/pubsub/quotas, quoted in
2026)."""

MOVED_TIB: Final = 40.0
"""$, published and pulled alike (cloud.google.com/pubsub/pricing, quoted on 20 September 2026)."""

# Statsig's Pro plan (statsig.com/pricing, quoted on 5 May 2026).

STATSIG_MONTH: Final = 150.0
"""$, with the included events."""

STATSIG_INCLUDED: Final = 5_000_000
"""Events a month."""

STATSIG_EVENT: Final = 0.05 / 1000
"""$, beyond the included ones."""

# What deploy/terraform gives by default.

UNITS: Final = 100
"""Processing units of Spanner."""

MOST_INGRESSES: Final = 20
LEAST_INGRESSES: Final = 1
WORKERS: Final = 2
CALLS_AT_ONCE: Final = 64
"""Calls in flight of an ingress."""

BACKUPS: Final = 14
"""Full backups that are kept: one a day."""

CALL_SECONDS: Final = 0.05
"""Assumed: a call at peak, most of it the commit and the wait for its turn."""

BATCH_SECONDS: Final = 0.3
"""Assumed: from the claim of a batch to its settling, with Statsig's answer in between."""

-- What each worker last told of itself: a few rows, for operators. Nothing decides anything by it.
CREATE TABLE NestEventWorker (
  worker_id       STRING(36) NOT NULL,  -- a UUIDv4, new with each start
  started_at      TIMESTAMP  NOT NULL,
  version         STRING(64) NOT NULL,
  seen_at         TIMESTAMP  NOT NULL OPTIONS (allow_commit_timestamp = true),
  stopped         BOOL       NOT NULL,  -- it was told to end, and this is its last word
  circuit_reason  STRING(64),           -- NULL while its circuit is closed
  circuit_since   TIMESTAMP,
) PRIMARY KEY (worker_id),
  ROW DELETION POLICY (OLDER_THAN(seen_at, INTERVAL 1 DAY));

-- The event log and the forward ledger. Applied in the order of the file numbers; never edited once deployed.

-- Append-only: a row is written once and never updated, so that exports and audits see no process's scratch marks.
-- event_id is a UUIDv4, or a UUIDv5 of (caller, idempotency key): either spreads writes over the key space.
-- No row deletion policy: how long the log is kept is its owner's decision.
CREATE TABLE NestEventLog (
  event_id            STRING(36)  NOT NULL,
  event_name          STRING(256) NOT NULL,
  event_type          STRING(128),
  actor_id            STRING(256),
  event_ts            TIMESTAMP   NOT NULL,
  ingested_at         TIMESTAMP   NOT NULL OPTIONS (allow_commit_timestamp = true),
  metadata            JSON        NOT NULL,
  forward_to_statsig  BOOL        NOT NULL,
  -- What the service itself reads of a row, so that it need not read the metadata for it.
  request_digest      STRING(64)  NOT NULL,  -- SHA-256 of what the caller sent: tells a retry from a reuse of its key
  write_id            STRING(36)  NOT NULL,  -- a UUID of the call that wrote the row: tells its own write from an earlier one
  caller              STRING(320)            -- the principal; NULL where nobody was established
) PRIMARY KEY (event_id);

-- Delivery state, one row per event that is to be forwarded, inserted in the commit of its event log row: born
-- PENDING, because a process can die at any point after that commit.
CREATE TABLE NestEventForward (
  event_id             STRING(36) NOT NULL,
  state                STRING(9)  NOT NULL,  -- PENDING, DELIVERED or DEAD
  pending_since        TIMESTAMP OPTIONS (allow_commit_timestamp = true),  -- NULL once settled
  republished          INT64      NOT NULL DEFAULT (0),  -- how often by the reconciler, since it was born or replayed
  republished_at       TIMESTAMP OPTIONS (allow_commit_timestamp = true),  -- by the reconciler, last
  again_at             TIMESTAMP,  -- when the reconciler looks at it again; in the future mostly
  settled_at           TIMESTAMP OPTIONS (allow_commit_timestamp = true),  -- NULL while pending
  attempts             INT64      NOT NULL DEFAULT (0),  -- requests to Statsig that carried the event
  last_attempt_at      TIMESTAMP,
  last_reason          STRING(64),  -- outcome of the last attempt, a stable word such as http_503
  last_status          INT64,       -- its HTTP status, where there was one
  history              ARRAY<STRING(MAX)>,  -- what became of every attempt, the oldest first; shared/attempt_history.py
  alone_failures       INT64      NOT NULL DEFAULT (0),  -- how often it failed alone while others were confirmed
  not_before           TIMESTAMP,  -- of a suspect only: when it may be tried again
  claim_token          STRING(36),  -- the batch that holds the event now, or held it and died
  claimed_until        TIMESTAMP,
  replays              INT64      NOT NULL DEFAULT (0),
  possible_duplicates  INT64      NOT NULL DEFAULT (0),  -- attempts whose outcome nobody could know
  forward_shard        INT64      NOT NULL,  -- 0 to 15, from the event_id
) PRIMARY KEY (event_id),
  INTERLEAVE IN PARENT NestEventLog ON DELETE CASCADE,
  -- A settled row is of use to operators for a while, then only costs storage. Pending rows have no settled_at.
  ROW DELETION POLICY (OLDER_THAN(settled_at, INTERVAL 90 DAY));

-- What is pending, and only that. Led by a shard: an index led by a rising timestamp is a hot spot. It stores nothing: a
-- column that changes with every claim would be three more index writes an event.
CREATE NULL_FILTERED INDEX NestEventForwardPending ON NestEventForward (forward_shard, pending_since);

-- What the reconciler has looked at and will look at again: few rows, or a backlog.
CREATE NULL_FILTERED INDEX NestEventForwardAgain ON NestEventForward (forward_shard, again_at);

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

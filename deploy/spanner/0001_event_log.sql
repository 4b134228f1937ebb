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
  forward_to_statsig  BOOL        NOT NULL
) PRIMARY KEY (event_id);

-- Delivery state, one row per event that is to be forwarded, inserted in the commit of its event log row: born
-- PENDING, because a process can die at any point after that commit.
CREATE TABLE NestEventForward (
  event_id             STRING(36) NOT NULL,
  state                STRING(9)  NOT NULL,  -- PENDING, DELIVERED or DEAD
  pending_since        TIMESTAMP OPTIONS (allow_commit_timestamp = true),  -- NULL once settled
  republished_at       TIMESTAMP OPTIONS (allow_commit_timestamp = true),  -- by the reconciler, last
  settled_at           TIMESTAMP OPTIONS (allow_commit_timestamp = true),  -- NULL while pending
  attempts             INT64      NOT NULL,  -- requests to Statsig that carried the event
  last_attempt_at      TIMESTAMP,
  last_reason          STRING(64),  -- outcome of the last attempt, a stable word such as http_503
  last_status          INT64,       -- its HTTP status, where there was one
  claim_token          STRING(36),  -- the batch that holds the event now, or held it and died
  claimed_until        TIMESTAMP,
  replays              INT64      NOT NULL,
  possible_duplicates  INT64      NOT NULL,  -- attempts whose outcome nobody could know
  forward_shard        INT64      NOT NULL,  -- 0 to 15, from the event_id
) PRIMARY KEY (event_id),
  INTERLEAVE IN PARENT NestEventLog ON DELETE CASCADE,
  -- A settled row is of use to operators for a while, then only costs storage. Pending rows have no settled_at.
  ROW DELETION POLICY (OLDER_THAN(settled_at, INTERVAL 90 DAY));

-- What is pending, and only that. Led by a shard: an index led by a rising timestamp is a hot spot.
CREATE NULL_FILTERED INDEX NestEventForwardPending ON NestEventForward (forward_shard, pending_since)
  STORING (republished_at, claimed_until);

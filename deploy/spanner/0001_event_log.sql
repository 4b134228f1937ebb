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
  caller              STRING(320),           -- the principal; NULL where nobody was established
  -- From the event_id, as the ledger row's: the setting FORWARD_SHARDS says how many there are.
  log_shard           INT64       NOT NULL,
  request_id          STRING(32)             -- of the call, as it was answered in x-request-id
) PRIMARY KEY (event_id);

-- The log by time, so that what asks about an hour reads that hour. Led by a shard: an index led by a rising timestamp
-- is a hot spot. It stores what events are chosen by, so that a search reads nothing else.
CREATE INDEX NestEventLogByTime ON NestEventLog (log_shard, ingested_at)
  STORING (forward_to_statsig, event_name, actor_id, caller);

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
  history              ARRAY<STRING(MAX)>,  -- what became of every attempt, the oldest first; shared/events/attempt_history.py
  alone_failures       INT64      NOT NULL DEFAULT (0),  -- how often it failed alone while others were confirmed
  not_before           TIMESTAMP,  -- of a suspect only: when it may be tried again
  claim_token          STRING(36),  -- the batch that holds the event now, or held it and died
  claimed_until        TIMESTAMP,
  replays              INT64      NOT NULL DEFAULT (0),
  possible_duplicates  INT64      NOT NULL DEFAULT (0),  -- attempts whose outcome nobody could know
  forward_shard        INT64      NOT NULL,  -- from the event_id; the setting FORWARD_SHARDS says how many there are
  dead_shard           INT64 AS (IF(state = 'DEAD', forward_shard, NULL)) STORED,
) PRIMARY KEY (event_id),
  INTERLEAVE IN PARENT NestEventLog ON DELETE CASCADE,
  -- A settled row is of use to operators for a while, then only costs storage. Pending rows have no settled_at.
  ROW DELETION POLICY (OLDER_THAN(settled_at, INTERVAL 90 DAY));

-- What is pending, and only that. Led by a shard: an index led by a rising timestamp is a hot spot. It stores nothing: a
-- column that changes with every claim would be three more index writes an event.
CREATE NULL_FILTERED INDEX NestEventForwardPending ON NestEventForward (forward_shard, pending_since);

-- What the reconciler has looked at and will look at again: few rows, or a backlog.
CREATE NULL_FILTERED INDEX NestEventForwardAgain ON NestEventForward (forward_shard, again_at);

-- What is dead, and only that: what operators count and replay must not cost by what was ever delivered.
CREATE NULL_FILTERED INDEX NestEventForwardDead ON NestEventForward (dead_shard, settled_at) STORING (last_reason);

-- What each process last told of itself: a few rows, for operators. Nothing decides anything by it.
CREATE TABLE NestEventProcess (
  process_id        STRING(36) NOT NULL,  -- a UUIDv4, new with each start
  role              STRING(8)  NOT NULL,  -- ingress or worker
  version           STRING(64) NOT NULL,
  started_at        TIMESTAMP  NOT NULL,
  seen_at           TIMESTAMP  NOT NULL OPTIONS (allow_commit_timestamp = true),
  stopped           BOOL       NOT NULL,  -- it was told to end, and this is its last word
  -- What it counted in its last interval, and for how long it counted; shared/process/process_states.py.
  interval_seconds  FLOAT64    NOT NULL,
  accepted          INT64      NOT NULL,
  refused           INT64      NOT NULL,
  failed            INT64      NOT NULL,
  delivered         INT64      NOT NULL,
  dead_lettered     INT64      NOT NULL,
  failed_requests   INT64      NOT NULL,
  last_failure      STRING(64),           -- of a request to Statsig, and when
  last_failure_at   TIMESTAMP,
  circuit_reason    STRING(64),           -- NULL while its circuit is closed
  circuit_since     TIMESTAMP,
  next_probe_at     TIMESTAMP,
  nothing_pending_before  TIMESTAMP,      -- where a scan of NestEventForwardPending may begin, in any shard
) PRIMARY KEY (process_id),
  ROW DELETION POLICY (OLDER_THAN(seen_at, INTERVAL 1 DAY));

-- Dead letters, a row for each message of the dead-letter topic: the worker collects them here, so that operators read
-- all of them, in order, and lease none. Of one subject one row is open at the most.
CREATE TABLE NestEventDeadLetter (
  subject       STRING(36)  NOT NULL,  -- the event_id; of bytes that are no forward message, a UUIDv5 of message_id
  message_id    STRING(64)  NOT NULL,  -- Pub/Sub's, on the dead-letter topic
  kind          STRING(8)   NOT NULL,  -- reasoned, native or poison; shared/events/dead_letter_table.py
  reason        STRING(64)  NOT NULL,
  dead_at       TIMESTAMP   NOT NULL,  -- as the worker noted it, else when it was published to the dead-letter topic
  event_id      STRING(36),            -- of poison what its attributes claim, where they do
  event_name    STRING(256),
  caller        STRING(320),           -- as the event's row has it
  data          BYTES(MAX)  NOT NULL,  -- the original message
  attributes    ARRAY<STRING(MAX)> NOT NULL,  -- of the message, the worker's notes among them: name and value in turn
  collected_at  TIMESTAMP   NOT NULL OPTIONS (allow_commit_timestamp = true),
  open_shard    INT64,                 -- from the subject; NULL once closed
  closed_at     TIMESTAMP   OPTIONS (allow_commit_timestamp = true),
  closed_by     STRING(10),            -- replayed, delivered, superseded or discarded
) PRIMARY KEY (subject, message_id),
  -- Open ones stay until somebody decides.
  ROW DELETION POLICY (OLDER_THAN(closed_at, INTERVAL 90 DAY));

-- What is open, and only that, with all by which letters are counted and chosen.
CREATE NULL_FILTERED INDEX NestEventDeadLetterOpen ON NestEventDeadLetter (open_shard, dead_at)
  STORING (kind, reason, event_id, event_name, caller);

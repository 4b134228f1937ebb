-- The event log and the forward ledger. Applied in the order of the file numbers; never edited once deployed.

-- Append-only: a row is written once and never updated, so that exports and audits see no process's working state.
-- event_id is a UUIDv4, or a UUIDv5 of (caller, idempotency key): both spread writes over the key space.
-- No row deletion policy: the owner of the log decides how long it is kept.
CREATE TABLE NestEventLog (
  event_id            STRING(36)  NOT NULL,
  event_name          STRING(256) NOT NULL,
  event_type          STRING(128),
  actor_id            STRING(256),
  event_ts            TIMESTAMP   NOT NULL,
  ingested_at         TIMESTAMP   NOT NULL OPTIONS (allow_commit_timestamp = true),
  metadata            JSON        NOT NULL,
  forward_to_statsig  BOOL        NOT NULL,
  -- Columns that the service reads itself, without reading the metadata.
  request_digest      STRING(64)  NOT NULL,  -- SHA-256 of what the caller sent: a retry has the same, a reused key another
  write_id            STRING(36)  NOT NULL,  -- a new UUID for each event of a call: shows whether that call or an earlier one wrote the row
  caller              STRING(320),           -- the calling principal; NULL if none was established
  -- From the event_id, like the ledger row's; the setting FORWARD_SHARDS is the number of shards.
  log_shard           INT64       NOT NULL,
  request_id          STRING(32)             -- of the call, as answered in x-request-id
) PRIMARY KEY (event_id);

-- The log by time, so that a question about an hour reads that hour alone. Led by a shard: an index led by a rising
-- timestamp is a hot spot. It stores the columns by which events are chosen, so that a search reads nothing else.
CREATE INDEX NestEventLogByTime ON NestEventLog (log_shard, ingested_at)
  STORING (forward_to_statsig, event_name, event_type, actor_id, caller);

-- Delivery state, one row per event that is to be forwarded. It is inserted as PENDING in the commit of the event's log
-- row, because a process can die at any point after that commit. `nest-events forward` inserts it later for an event that
-- was stored only; the log row still says so then.
CREATE TABLE NestEventForward (
  event_id             STRING(36) NOT NULL,
  state                STRING(9)  NOT NULL,  -- PENDING, DELIVERED or DEAD
  pending_since        TIMESTAMP OPTIONS (allow_commit_timestamp = true),  -- NULL once settled
  republished          INT64      NOT NULL DEFAULT (0),  -- how often by the reconciler, since its commit or last replay
  republished_at       TIMESTAMP OPTIONS (allow_commit_timestamp = true),  -- the last time
  again_at             TIMESTAMP,  -- when the reconciler looks at it again; usually in the future
  settled_at           TIMESTAMP OPTIONS (allow_commit_timestamp = true),  -- NULL while pending
  attempts             INT64      NOT NULL DEFAULT (0),  -- requests to Statsig that carried the event
  last_attempt_at      TIMESTAMP,
  last_reason          STRING(64),  -- outcome of the last attempt, a stable word such as http_503
  last_status          INT64,       -- its HTTP status, if there was one
  history              ARRAY<STRING(MAX)>,  -- the latest attempts and replays, the oldest first; shared/events/attempt_history.py
  alone_failures       INT64      NOT NULL DEFAULT (0),  -- how often it failed alone while others were confirmed
  not_before           TIMESTAMP,  -- set for a suspect only: when it may be tried again
  given_up_reason      STRING(64),  -- set before its dead letter is published, until it is DEAD: it is not sent any more
  claim_token          STRING(36),  -- the batch that has claimed the event, or had when it died
  claimed_until        TIMESTAMP,
  replays              INT64      NOT NULL DEFAULT (0),
  possible_duplicates  INT64      NOT NULL DEFAULT (0),  -- attempts with an unknown outcome
  forward_shard        INT64      NOT NULL,  -- from the event_id; the setting FORWARD_SHARDS is the number of shards
  dead_shard           INT64 AS (IF(state = 'DEAD', forward_shard, NULL)) STORED,
) PRIMARY KEY (event_id),
  INTERLEAVE IN PARENT NestEventLog ON DELETE CASCADE,
  -- Operators need a settled row for a while; then it only costs storage. Pending rows have no settled_at.
  ROW DELETION POLICY (OLDER_THAN(settled_at, INTERVAL 90 DAY));

-- Pending events only. Led by a shard: an index led by a rising timestamp is a hot spot. It stores no column: one that
-- changes with every claim would be three more index writes an event.
CREATE NULL_FILTERED INDEX NestEventForwardPending ON NestEventForward (forward_shard, pending_since);

-- Events that the reconciler has looked at and will look at again: few rows, or a backlog.
CREATE NULL_FILTERED INDEX NestEventForwardAgain ON NestEventForward (forward_shard, again_at);

-- Dead events only: the cost of counting and replaying them must not grow with the number of delivered events.
CREATE NULL_FILTERED INDEX NestEventForwardDead ON NestEventForward (dead_shard, settled_at) STORING (last_reason);

-- Each process's latest report: a few rows, for operators. No process decides anything by them.
CREATE TABLE NestEventProcess (
  process_id        STRING(36) NOT NULL,  -- a UUIDv4, new with each start
  role              STRING(8)  NOT NULL,  -- ingress or worker
  version           STRING(64) NOT NULL,
  started_at        TIMESTAMP  NOT NULL,
  seen_at           TIMESTAMP  NOT NULL OPTIONS (allow_commit_timestamp = true),
  stopped           BOOL       NOT NULL,  -- the process is shutting down, and this is its last report
  -- The counts of its last interval, and how long that was; shared/process/process_states.py.
  interval_seconds  FLOAT64    NOT NULL,
  accepted          INT64      NOT NULL,
  refused           INT64      NOT NULL,
  failed            INT64      NOT NULL,
  delivered         INT64      NOT NULL,
  dead_lettered     INT64      NOT NULL,
  failed_requests   INT64      NOT NULL,
  last_failure      STRING(64),           -- the outcome of the last request to Statsig that failed, and when
  last_failure_at   TIMESTAMP,
  circuit_reason    STRING(64),           -- NULL while its circuit is closed
  circuit_since     TIMESTAMP,
  next_probe_at     TIMESTAMP,
  nothing_pending_before  TIMESTAMP,      -- where a scan of NestEventForwardPending can begin, in every shard
) PRIMARY KEY (process_id),
  ROW DELETION POLICY (OLDER_THAN(seen_at, INTERVAL 1 DAY));

-- Dead letters, one row per message of the dead-letter topic. The worker collects them here, so that operators can read
-- all of them in order without leasing any. At most one row of a subject is open.
CREATE TABLE NestEventDeadLetter (
  subject       STRING(36)  NOT NULL,  -- the event_id; for bytes that are not a forward message, a UUIDv5 of message_id
  message_id    STRING(64)  NOT NULL,  -- Pub/Sub's, on the dead-letter topic
  kind          STRING(8)   NOT NULL,  -- reasoned, native or poison; shared/events/dead_letter_table.py
  reason        STRING(64)  NOT NULL,
  dead_at       TIMESTAMP   NOT NULL,  -- as the worker noted it, else its publish time on the dead-letter topic
  event_id      STRING(36),            -- for poison unchecked, from its attributes if they have one
  event_name    STRING(256),
  caller        STRING(320),           -- as in the event's row
  data          BYTES(MAX)  NOT NULL,  -- the original message
  attributes    ARRAY<STRING(MAX)> NOT NULL,  -- the message's, with the worker's notes: name and value in turn
  collected_at  TIMESTAMP   NOT NULL OPTIONS (allow_commit_timestamp = true),
  open_shard    INT64,                 -- from the subject; NULL once closed
  closed_at     TIMESTAMP   OPTIONS (allow_commit_timestamp = true),
  closed_by     STRING(10),            -- replayed, delivered, superseded or discarded
) PRIMARY KEY (subject, message_id),
  -- Open ones stay until an operator replays or discards them.
  ROW DELETION POLICY (OLDER_THAN(closed_at, INTERVAL 90 DAY));

-- Open dead letters only, with the columns by which they are counted and chosen.
CREATE NULL_FILTERED INDEX NestEventDeadLetterOpen ON NestEventDeadLetter (open_shard, dead_at)
  STORING (kind, reason, event_id, event_name, caller);

-- All letters of an event, for an erasure: poison has another subject.
CREATE NULL_FILTERED INDEX NestEventDeadLetterByEvent ON NestEventDeadLetter (event_id);

-- Events that `nest-events erase` deleted, so that nothing is made of a message of theirs that is still in a topic. Kept
-- for longer than a message can be: 31 days on the forward topic, and as long again on the dead-letter topic.
CREATE TABLE NestEventErased (
  event_id   STRING(36) NOT NULL,
  erased_at  TIMESTAMP  NOT NULL OPTIONS (allow_commit_timestamp = true),
) PRIMARY KEY (event_id),
  ROW DELETION POLICY (OLDER_THAN(erased_at, INTERVAL 90 DAY));

-- Operators' rules; shared/events/rules.py says what each action does. A few rows, which every process reads every few
-- seconds. A rule that has ended stays, to show who made and removed it.
CREATE TABLE NestEventRule (
  rule_id      STRING(8)   NOT NULL,  -- random, in hexadecimal: it leads the key, and operators type it
  action       STRING(11)  NOT NULL,  -- refuse, store_only, hold, dead_letter, pause or probe
  event_name   STRING(256),           -- an event matches if it has every value that is set
  name_prefix  STRING(256),
  event_type   STRING(128),
  caller       STRING(320),
  why          STRING(500) NOT NULL,
  created_at   TIMESTAMP   NOT NULL OPTIONS (allow_commit_timestamp = true),
  created_by   STRING(320) NOT NULL,
  expires_at   TIMESTAMP   NOT NULL,
  removed_at   TIMESTAMP   OPTIONS (allow_commit_timestamp = true),
  removed_by   STRING(320),
  -- A worker publishes again the pending events that the rule concerns: those that it held, or is to dead-letter.
  sweeping_until  TIMESTAMP,          -- another worker may begin again after this time
  swept_at     TIMESTAMP   OPTIONS (allow_commit_timestamp = true),
) PRIMARY KEY (rule_id),
  ROW DELETION POLICY (OLDER_THAN(expires_at, INTERVAL 90 DAY));

-- What operators changed: who, when, why, and how many events. Never an actor's id. The owner decides how long it is
-- kept.
CREATE TABLE NestEventAudit (
  audit_id  STRING(36)  NOT NULL,  -- a UUIDv4
  done_at   TIMESTAMP   NOT NULL OPTIONS (allow_commit_timestamp = true),
  who       STRING(320) NOT NULL,
  command   STRING(40)  NOT NULL,
  why       STRING(500),
  detail    JSON        NOT NULL,  -- what the command was given, and its counts
) PRIMARY KEY (audit_id);

-- A few rows a day, so a rising key is no hot spot.
CREATE INDEX NestEventAuditByTime ON NestEventAudit (done_at DESC);

-- What each ingress warned callers of and refused, by hour; shared/events/complaints.py. A process has a fixed number of
-- places an hour, so the number of rows is bounded whatever callers send; what has no place of its own is counted as
-- (other). Led by a shard, because a key led by a rising time is a hot spot.
CREATE TABLE NestEventComplaint (
  complaint_shard  INT64       NOT NULL,  -- from the process_id
  hour             TIMESTAMP   NOT NULL,  -- its beginning, by the process's clock
  process_id       STRING(36)  NOT NULL,
  place            INT64       NOT NULL,  -- the rest of the row may change as long as the hour lasts
  kind             STRING(7)   NOT NULL,  -- warning or refusal
  caller           STRING(320) NOT NULL,  -- empty if none was established
  event_name       STRING(256) NOT NULL,  -- empty if it is not known
  reason           STRING(128) NOT NULL,  -- the field and the rule
  events           INT64       NOT NULL,
) PRIMARY KEY (complaint_shard, hour, process_id, place),
  ROW DELETION POLICY (OLDER_THAN(hour, INTERVAL 8 DAY));

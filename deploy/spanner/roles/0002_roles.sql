-- Fine-grained access: what each identity may do with rows. In a folder of its own, because the Spanner emulator (1.5.28)
-- has no roles. Numbered in one sequence with the files of the folder above: deploy/terraform applies both, by number.
-- No role but eraser may delete a row, and none may change the schema, which cannot be granted to a role.

-- spanner_info_reader shows the whole schema, which a process checks when it starts, and no rows.
CREATE ROLE ingress;
GRANT INSERT ON TABLE NestEventLog, NestEventForward TO ROLE ingress;
-- To compare a retried call with what was written.
GRANT SELECT(event_id, request_digest, write_id) ON TABLE NestEventLog TO ROLE ingress;
GRANT ROLE spanner_info_reader TO ROLE ingress;

CREATE ROLE worker;
GRANT SELECT, UPDATE ON TABLE NestEventForward TO ROLE worker;
-- The reconciler publishes events again, and a dead letter has the caller of its event.
GRANT SELECT(event_id, event_name, event_type, actor_id, event_ts, metadata, caller) ON TABLE NestEventLog TO ROLE worker;
GRANT SELECT, INSERT, UPDATE ON TABLE NestEventDeadLetter TO ROLE worker;
GRANT ROLE spanner_info_reader TO ROLE worker;

CREATE ROLE operator;
GRANT SELECT ON TABLE NestEventLog TO ROLE operator;
-- A replay makes a dead event pending again. An event that was stored only gets its row when an operator forwards it.
GRANT SELECT, INSERT, UPDATE ON TABLE NestEventForward TO ROLE operator;
-- And closes its dead letter.
GRANT SELECT, UPDATE ON TABLE NestEventDeadLetter TO ROLE operator;
GRANT ROLE spanner_info_reader TO ROLE operator;

-- The pipeline that exports the event log to BigQuery; it sees no delivery state.
CREATE ROLE export;
GRANT SELECT ON TABLE NestEventLog TO ROLE export;

-- NestEventProcess. A process that ends marks its row, so no role needs to delete rows here.
GRANT INSERT, UPDATE ON TABLE NestEventProcess TO ROLE ingress, worker;
GRANT SELECT ON TABLE NestEventProcess TO ROLE operator;

-- Operators' rules. A worker notes that it has published again what a rule concerned.
GRANT SELECT ON TABLE NestEventRule TO ROLE ingress;
GRANT SELECT, UPDATE(sweeping_until, swept_at) ON TABLE NestEventRule TO ROLE worker;
GRANT SELECT, INSERT, UPDATE ON TABLE NestEventRule TO ROLE operator;

-- What operators did cannot be changed afterwards.
GRANT SELECT, INSERT ON TABLE NestEventAudit TO ROLE operator;

-- What callers were warned of and refused. A process writes its counts again as they rise.
GRANT INSERT, UPDATE ON TABLE NestEventComplaint TO ROLE ingress;
GRANT SELECT ON TABLE NestEventComplaint TO ROLE operator;

-- Operators take this role for `nest-events erase` alone. It sees no metadata, and no payload of a dead letter.
CREATE ROLE eraser;
GRANT SELECT(event_id, actor_id, ingested_at, forward_to_statsig, log_shard), DELETE ON TABLE NestEventLog TO ROLE eraser;
-- Its ledger row goes with a log row (ON DELETE CASCADE), for which DELETE on the parent is enough. Before that the eraser
-- takes over a worker's claim.
GRANT SELECT(event_id, state, claim_token, claimed_until) ON TABLE NestEventForward TO ROLE eraser;
GRANT UPDATE(claim_token, claimed_until) ON TABLE NestEventForward TO ROLE eraser;
GRANT SELECT(subject, message_id, event_id), DELETE ON TABLE NestEventDeadLetter TO ROLE eraser;
GRANT INSERT, UPDATE ON TABLE NestEventErased TO ROLE eraser;
GRANT INSERT ON TABLE NestEventAudit TO ROLE eraser;
GRANT ROLE spanner_info_reader TO ROLE eraser;

-- A claim, or a dead letter that is collected, of an event that has no rows: was it erased?
GRANT SELECT ON TABLE NestEventErased TO ROLE worker, operator;

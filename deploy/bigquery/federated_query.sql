-- The last day of the log straight from Spanner, for small amounts. Replace PROJECT, REGION, CONNECTION (README.md).
-- Data Boost in the connection keeps the scan off the capacity with which the ingress commits. The metadata is passed as
-- text, so that no conversion on the way changes how a number is written.
SELECT
  event_id,
  event_name,
  event_type,
  actor_id,
  event_ts,
  ingested_at,
  PARSE_JSON(metadata, wide_number_mode => 'round') AS metadata,
  forward_to_statsig,
  request_digest,
  write_id,
  caller,
  log_shard,
  request_id
FROM EXTERNAL_QUERY(
  'projects/PROJECT/locations/REGION/connections/CONNECTION',
  '''
  SELECT event_id, event_name, event_type, actor_id, event_ts, ingested_at,
         TO_JSON_STRING(metadata) AS metadata, forward_to_statsig, request_digest, write_id, caller, log_shard, request_id
  FROM NestEventLog
  WHERE ingested_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)
  '''
);

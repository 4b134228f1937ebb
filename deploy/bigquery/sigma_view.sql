-- The view for Sigma users. Replace DATASET. One row per event, even if the change stream delivered it twice.
-- JSON_VALUE returns text, or NULL for a value that is missing or no scalar. Numbers are cast: text in their place is NULL.
CREATE OR REPLACE VIEW DATASET.nest_events AS
SELECT
  event_id,
  event_name,
  event_type,
  actor_id,
  event_ts,
  ingested_at,
  DATE(ingested_at) AS ingested_on,
  forward_to_statsig,
  caller,
  JSON_VALUE(metadata, '$._eventLog.caller.source') AS caller_source,
  SAFE_CAST(JSON_VALUE(metadata, '$._eventLog.schema_version') AS INT64) AS schema_version,
  SPLIT(JSON_VALUE(metadata, '$._eventLog.traceparent'), '-')[SAFE_OFFSET(1)] AS trace_id,
  JSON_VALUE(metadata, '$.value') AS value,
  SAFE_CAST(JSON_VALUE(metadata, '$.value') AS FLOAT64) AS value_number,
  JSON_VALUE(metadata, '$.currency') AS currency,
  metadata
FROM DATASET.nest_event_log
QUALIFY ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY ingested_at) = 1;

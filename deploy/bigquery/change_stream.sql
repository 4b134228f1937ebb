-- The change stream that Google's Dataflow template "Spanner change streams to BigQuery" reads. Applied once, by hand
-- (README.md), since not every installation exports this way. It has inserts alone: the log has no updates, and a delete,
-- of `nest-events erase` or of a row deletion policy, would arrive as one more row.
CREATE CHANGE STREAM NestEventLogExport FOR NestEventLog OPTIONS (
  value_capture_type = 'NEW_ROW',
  exclude_delete = true,
  exclude_ttl_deletes = true,
  -- How long the pipeline may be down without loss: the maximum.
  retention_period = '7d'
);

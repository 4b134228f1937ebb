-- The change stream that Google's Dataflow template "Spanner change streams to BigQuery" reads. Applied once, by hand
-- (README.md), since not every installation exports this way. The log is append-only, so it has inserts alone.
CREATE CHANGE STREAM NestEventLogExport FOR NestEventLog OPTIONS (
  value_capture_type = 'NEW_ROW',
  -- How long the pipeline may be down without loss: the maximum.
  retention_period = '7d'
);

-- What Google's Dataflow template "Spanner change streams to BigQuery" reads. Applied once, by hand (README.md), since
-- not every installation exports this way. The log is append-only, so inserts are all there is to tell.
CREATE CHANGE STREAM NestEventLogExport FOR NestEventLog OPTIONS (
  value_capture_type = 'NEW_ROW',
  -- How long the pipeline may be down without losing anything; the longest there is.
  retention_period = '7d'
);

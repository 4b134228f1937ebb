-- Only with database roles (deploy/spanner/roles); after change_stream.sql.
GRANT SELECT ON CHANGE STREAM NestEventLogExport TO ROLE export;
GRANT EXECUTE ON TABLE FUNCTION READ_NestEventLogExport TO ROLE export;

-- Who may do what with NestEventWorker. A worker that ends marks its row, so that here too nobody may delete one.
GRANT INSERT, UPDATE ON TABLE NestEventWorker TO ROLE worker;
GRANT SELECT ON TABLE NestEventWorker TO ROLE operator;

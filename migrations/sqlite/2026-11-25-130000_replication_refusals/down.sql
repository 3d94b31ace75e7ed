DROP TABLE replication_refusals;

DROP TABLE quarantine;
DROP TABLE peer_hashes;
DROP TABLE peer_associations;
DROP TABLE replication_cursors;
DROP TABLE replication_sequence;
DROP TABLE replication_log;

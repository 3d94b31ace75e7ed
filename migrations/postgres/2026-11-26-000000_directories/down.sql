DROP TABLE directory_hashes;
DROP TABLE directory_associations;
DROP TABLE directory_syncs;

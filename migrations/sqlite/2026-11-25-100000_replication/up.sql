-- Times are milliseconds since the Unix epoch.

-- What neighbours are told, in this order: that a 3PID was bound, or, where mxid is NULL, that it
-- is bound no more.
CREATE TABLE replication_log (
    id BIGINT NOT NULL PRIMARY KEY,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    mxid TEXT,
    ts BIGINT NOT NULL,
    not_before BIGINT,
    not_after BIGINT
) WITHOUT ROWID;
CREATE INDEX replication_log_by_address ON replication_log (medium, address, id);

-- The last id of the log that was given away: one row, which never goes down, since neighbours
-- take no id twice. Whoever writes into the log holds it, so that no id is seen before a lower one.
CREATE TABLE replication_sequence (
    last BIGINT NOT NULL PRIMARY KEY
) WITHOUT ROWID;
INSERT INTO replication_sequence (last) VALUES (0);

-- How far each neighbour has been told.
CREATE TABLE replication_cursors (
    peer TEXT NOT NULL PRIMARY KEY,
    last_id BIGINT NOT NULL,
    -- When it is told next, or until when some node is telling it.
    due_at BIGINT NOT NULL,
    -- How often in a row that has failed.
    attempts INTEGER NOT NULL,
    last_error TEXT
) WITHOUT ROWID;

-- The newest that a neighbour, the origin, said of a 3PID. Where mxid is NULL it said that nobody
-- has it, which is kept, so that older news can't bring it back.
CREATE TABLE peer_associations (
    origin TEXT NOT NULL,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    origin_id BIGINT NOT NULL,
    mxid TEXT,
    ts BIGINT NOT NULL,
    not_before BIGINT,
    not_after BIGINT,
    -- The association as the origin signed it, as JSON; NULL where it signed more than that.
    signed TEXT,
    PRIMARY KEY (origin, medium, address)
) WITHOUT ROWID;
CREATE INDEX peer_associations_by_address ON peer_associations (medium, address);

CREATE TABLE peer_hashes (
    pepper_id BIGINT NOT NULL REFERENCES peppers (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,
    origin TEXT NOT NULL,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (pepper_id, hash, origin),
    FOREIGN KEY (origin, medium, address) REFERENCES peer_associations (origin, medium, address)
        ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX peer_hashes_by_address ON peer_hashes (origin, medium, address);

-- What neighbours sent and nobody can believe, for the operator to look at.
CREATE TABLE quarantine (
    id BIGINT NOT NULL PRIMARY KEY,
    origin TEXT NOT NULL,
    origin_id TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX quarantine_by_origin ON quarantine (origin, origin_id);

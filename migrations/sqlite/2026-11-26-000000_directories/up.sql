-- Times are milliseconds since the Unix epoch.

-- How far each directory is copied.
CREATE TABLE directory_syncs (
    directory TEXT NOT NULL PRIMARY KEY,
    -- What stands for the settings that the copy was made with.
    settings TEXT NOT NULL,
    -- The copy that is believed, and the last one that was begun.
    generation BIGINT NOT NULL,
    last_generation BIGINT NOT NULL,
    -- How many addresses the copy holds.
    addresses BIGINT NOT NULL,
    -- When the last whole copy was begun that is complete, and the last one of what has changed.
    full_at BIGINT,
    changes_at BIGINT,
    -- What is being copied, 'full' or 'changes', since when, and where it goes on.
    run TEXT,
    run_began_at BIGINT,
    run_cursor TEXT,
    -- How often in a row that has failed, until when nobody tries again, and why.
    attempts INTEGER NOT NULL,
    retry_at BIGINT NOT NULL,
    last_error TEXT,
    -- The node that copies, and until when the others leave it alone.
    node TEXT NOT NULL,
    node_until BIGINT NOT NULL
) WITHOUT ROWID;

-- The copies. An address that two people have in one copy is nobody's.
CREATE TABLE directory_associations (
    directory TEXT NOT NULL,
    generation BIGINT NOT NULL,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    mxid TEXT NOT NULL,
    PRIMARY KEY (directory, generation, medium, address, mxid)
) WITHOUT ROWID;
CREATE INDEX directory_associations_by_mxid
    ON directory_associations (directory, generation, mxid);

CREATE TABLE directory_hashes (
    pepper_id BIGINT NOT NULL REFERENCES peppers (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,
    directory TEXT NOT NULL,
    generation BIGINT NOT NULL,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    mxid TEXT NOT NULL,
    PRIMARY KEY (pepper_id, hash, directory, generation, mxid),
    FOREIGN KEY (directory, generation, medium, address, mxid)
        REFERENCES directory_associations (directory, generation, medium, address, mxid)
        ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX directory_hashes_by_address
    ON directory_hashes (directory, generation, medium, address, mxid);

-- Entries of the log that a neighbour refuses. They are told again until they are set aside, so that
-- those after them go on. What a newer entry replaces is gone with its entry.
CREATE TABLE replication_refusals (
    peer TEXT NOT NULL,
    entry_id BIGINT NOT NULL REFERENCES replication_log (id) ON DELETE CASCADE,
    -- How often the neighbour took others and refused this one.
    tries INTEGER NOT NULL,
    reason TEXT NOT NULL,
    -- In milliseconds since the Unix epoch; NULL while it is told again.
    set_aside_at BIGINT,
    PRIMARY KEY (peer, entry_id)
) WITHOUT ROWID;
CREATE INDEX replication_refusals_by_entry ON replication_refusals (entry_id);

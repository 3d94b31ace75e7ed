-- What is left of the limits that all nodes share (a generic cell rate algorithm).
CREATE TABLE allowances (
    -- The SHA-256 of the limit's name and of whom it protects.
    key BLOB NOT NULL PRIMARY KEY,
    -- When all of it is there again, in milliseconds since the Unix epoch.
    full_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX allowances_by_time ON allowances (full_at);

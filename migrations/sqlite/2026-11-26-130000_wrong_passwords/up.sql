-- The wrong passwords that were tried as users of the organisation's directories.
CREATE TABLE wrong_passwords (
    mxid TEXT NOT NULL PRIMARY KEY,
    -- How many there were since the last right one.
    in_a_row INTEGER NOT NULL,
    -- When the last one was tried, and until when nobody gets in as the user, in milliseconds since
    -- the Unix epoch.
    last_at BIGINT NOT NULL,
    locked_until BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX wrong_passwords_by_time ON wrong_passwords (last_at);

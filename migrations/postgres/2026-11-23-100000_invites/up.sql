-- An invitation to a 3PID. It waits until the 3PID is bound; then it is owed to the homeserver of
-- the one who bound it; then it is settled. Times are milliseconds since the Unix epoch.
CREATE TABLE invites (
    token TEXT NOT NULL PRIMARY KEY,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    room_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    -- All that the homeserver sent, as JSON.
    request TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- Who bound the 3PID, and when.
    mxid TEXT,
    bound_at BIGINT,
    -- When delivery is tried next; NULL where nothing is owed.
    due_at BIGINT,
    attempts INTEGER NOT NULL,
    last_error TEXT,
    -- delivered, failed or revoked; NULL before.
    outcome TEXT,
    settled_at BIGINT
);
CREATE INDEX invites_by_address ON invites (medium, address);
CREATE INDEX invites_by_due ON invites (due_at);
CREATE INDEX invites_by_age ON invites (created_at);

-- Rooms ask for these as long as they exist, so they outlive their invitations.
CREATE TABLE ephemeral_keys (
    public_key BYTEA NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL
);

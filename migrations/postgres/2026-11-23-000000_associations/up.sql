-- Times are milliseconds since the Unix epoch. Secrets and tokens are stored as SHA-256.

CREATE TABLE access_tokens (
    token_hash BYTEA NOT NULL PRIMARY KEY,
    mxid TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX access_tokens_by_mxid ON access_tokens (mxid);

CREATE TABLE accepted_terms (
    mxid TEXT NOT NULL,
    url TEXT NOT NULL,
    accepted_at BIGINT NOT NULL,
    PRIMARY KEY (mxid, url)
);

CREATE TABLE sessions (
    sid TEXT NOT NULL PRIMARY KEY,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    client_secret_hash BYTEA NOT NULL,
    next_link TEXT,
    -- The highest send_attempt whose message was handed over.
    send_attempt BIGINT,
    -- Until when a message is being sent by some request.
    sending_until BIGINT NOT NULL,
    wrong_attempts INTEGER NOT NULL,
    validated_at BIGINT,
    -- Creation or validation: what the lifetime counts from.
    modified_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_address ON sessions (medium, address, client_secret_hash);
CREATE INDEX sessions_by_age ON sessions (modified_at);

CREATE TABLE session_tokens (
    sid TEXT NOT NULL REFERENCES sessions (sid) ON DELETE CASCADE,
    token_hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (sid, token_hash)
);

CREATE TABLE associations (
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    mxid TEXT NOT NULL,
    ts BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    PRIMARY KEY (medium, address)
);

CREATE TABLE peppers (
    id BIGINT NOT NULL PRIMARY KEY,
    pepper TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE lookup_hashes (
    pepper_id BIGINT NOT NULL REFERENCES peppers (id) ON DELETE CASCADE,
    hash BYTEA NOT NULL,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (pepper_id, hash),
    FOREIGN KEY (medium, address) REFERENCES associations (medium, address) ON DELETE CASCADE
);
CREATE INDEX lookup_hashes_by_address ON lookup_hashes (medium, address);

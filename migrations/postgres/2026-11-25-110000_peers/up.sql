-- OpenID tokens of this server's own user: each is there until a peer has asked whose it is.
CREATE TABLE openid_tokens (
    token_hash BYTEA NOT NULL PRIMARY KEY,
    -- The base URL of the peer that it was made for.
    peer TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- The terms of other identity servers that the operator accepted.
CREATE TABLE peer_terms (
    peer TEXT NOT NULL,
    url TEXT NOT NULL,
    accepted_at BIGINT NOT NULL,
    PRIMARY KEY (peer, url)
);

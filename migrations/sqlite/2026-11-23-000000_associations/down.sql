DROP TABLE lookup_hashes;
DROP TABLE peppers;
DROP TABLE associations;
DROP TABLE session_tokens;
DROP TABLE sessions;
DROP TABLE accepted_terms;
DROP TABLE access_tokens;

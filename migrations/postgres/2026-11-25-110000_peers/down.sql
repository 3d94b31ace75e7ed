DROP TABLE peer_terms;
DROP TABLE openid_tokens;

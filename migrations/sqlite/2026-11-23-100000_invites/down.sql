DROP TABLE ephemeral_keys;
DROP TABLE invites;

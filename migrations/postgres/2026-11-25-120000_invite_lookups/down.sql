DROP INDEX invites_by_lookup;
ALTER TABLE invites DROP COLUMN looked_up_at;

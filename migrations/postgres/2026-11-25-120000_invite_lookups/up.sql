-- When peers were last asked about the 3PID of an invitation that waits.
ALTER TABLE invites ADD COLUMN looked_up_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX invites_by_lookup ON invites (looked_up_at)
    WHERE mxid IS NULL AND outcome IS NULL;

-- How many text messages were sent on a day, counted in days since the Unix epoch (UTC), to each
-- country; the country '' stands for all of them.
CREATE TABLE sms_counts (
    day BIGINT NOT NULL,
    country TEXT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (day, country)
) WITHOUT ROWID;

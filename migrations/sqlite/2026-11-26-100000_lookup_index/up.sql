-- What changed lately of that which servers keep in memory: of which 3PID somebody else may be
-- found now (kind 'threepid'), which access token is good no more (kind 'token', where address is
-- the token's hash in hexadecimal), that what people accepted was taken back (kind 'terms'). What is
-- true now stands in the tables themselves. Triggers write it, so that no change goes unseen,
-- whatever program makes it.
CREATE TABLE lookup_changes (
    id BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    -- Milliseconds since the Unix epoch, by the database's clock.
    changed_at BIGINT NOT NULL,
    -- The transaction, where the order of ids is not that of commits.
    xid BIGINT NOT NULL
) WITHOUT ROWID;

-- Ids go on from the highest one, which is never removed.
INSERT INTO lookup_changes (id, kind, medium, address, changed_at, xid)
    VALUES (1, 'terms', '', '', CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);

CREATE TRIGGER associations_added AFTER INSERT ON associations BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'threepid',
        NEW.medium, NEW.address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER associations_changed AFTER UPDATE ON associations BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'threepid',
        NEW.medium, NEW.address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER associations_removed AFTER DELETE ON associations BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'threepid',
        OLD.medium, OLD.address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER peer_associations_added AFTER INSERT ON peer_associations BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'threepid',
        NEW.medium, NEW.address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER peer_associations_changed AFTER UPDATE ON peer_associations BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'threepid',
        NEW.medium, NEW.address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER peer_associations_removed AFTER DELETE ON peer_associations BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'threepid',
        OLD.medium, OLD.address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER access_tokens_changed AFTER UPDATE ON access_tokens BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'token',
        '', lower(hex(OLD.token_hash)), CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER access_tokens_removed AFTER DELETE ON access_tokens BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'token',
        '', lower(hex(OLD.token_hash)), CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER accepted_terms_removed AFTER DELETE ON accepted_terms BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'terms',
        '', OLD.mxid, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;

-- Of the copies of directories only what is believed counts, and where another one is believed only
-- what is different in it.
CREATE TRIGGER directory_associations_added AFTER INSERT ON directory_associations
WHEN EXISTS (SELECT 1 FROM directory_syncs
    WHERE directory = NEW.directory AND generation = NEW.generation) BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'threepid',
        NEW.medium, NEW.address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER directory_associations_changed AFTER UPDATE ON directory_associations
WHEN EXISTS (SELECT 1 FROM directory_syncs
    WHERE directory = NEW.directory AND generation = NEW.generation) BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'threepid',
        NEW.medium, NEW.address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER directory_associations_removed AFTER DELETE ON directory_associations
WHEN EXISTS (SELECT 1 FROM directory_syncs
    WHERE directory = OLD.directory AND generation = OLD.generation) BEGIN
    INSERT INTO lookup_changes VALUES ((SELECT max(id) FROM lookup_changes) + 1, 'threepid',
        OLD.medium, OLD.address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0);
END;
CREATE TRIGGER directory_syncs_added AFTER INSERT ON directory_syncs BEGIN
    INSERT INTO lookup_changes
        SELECT (SELECT max(id) FROM lookup_changes) + row_number() OVER (), 'threepid', medium,
            address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0
        FROM (SELECT DISTINCT medium, address FROM directory_associations
            WHERE directory = NEW.directory AND generation = NEW.generation);
END;
CREATE TRIGGER directory_syncs_swapped AFTER UPDATE OF generation ON directory_syncs
WHEN OLD.generation <> NEW.generation BEGIN
    INSERT INTO lookup_changes
        SELECT (SELECT max(id) FROM lookup_changes) + row_number() OVER (), 'threepid', medium,
            address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0
        FROM (SELECT DISTINCT medium, address FROM (
            SELECT * FROM (SELECT medium, address, mxid FROM directory_associations
                WHERE directory = OLD.directory AND generation = OLD.generation
                EXCEPT SELECT medium, address, mxid FROM directory_associations
                WHERE directory = NEW.directory AND generation = NEW.generation)
            UNION ALL
            SELECT * FROM (SELECT medium, address, mxid FROM directory_associations
                WHERE directory = NEW.directory AND generation = NEW.generation
                EXCEPT SELECT medium, address, mxid FROM directory_associations
                WHERE directory = OLD.directory AND generation = OLD.generation)));
END;
CREATE TRIGGER directory_syncs_removed AFTER DELETE ON directory_syncs BEGIN
    INSERT INTO lookup_changes
        SELECT (SELECT max(id) FROM lookup_changes) + row_number() OVER (), 'threepid', medium,
            address, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0
        FROM (SELECT DISTINCT medium, address FROM directory_associations
            WHERE directory = OLD.directory AND generation = OLD.generation);
END;

-- 0: it is or was in use. The next one: 1: hashes are being made with it; 2: all are made; 3: it is
-- about to come into use.
ALTER TABLE peppers ADD COLUMN state INTEGER NOT NULL DEFAULT 0;
-- How far the hashes are made, as JSON.
ALTER TABLE peppers ADD COLUMN progress TEXT;

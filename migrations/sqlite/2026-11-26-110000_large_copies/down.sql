DROP TRIGGER directory_syncs_added;
DROP TRIGGER directory_syncs_swapped;
DROP TRIGGER directory_syncs_removed;
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

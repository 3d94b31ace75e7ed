CREATE OR REPLACE FUNCTION note_directory_swap() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    -- No copy has such a number.
    before BIGINT := -1;
    after BIGINT := -1;
    name TEXT;
BEGIN
    IF TG_OP <> 'INSERT' THEN before := OLD.generation; name := OLD.directory; END IF;
    IF TG_OP <> 'DELETE' THEN after := NEW.generation; name := NEW.directory; END IF;
    IF before = after THEN RETURN NULL; END IF;
    INSERT INTO lookup_changes (kind, medium, address)
        SELECT DISTINCT 'threepid', medium, address FROM (
            (SELECT medium, address, mxid FROM directory_associations
                WHERE directory = name AND generation = before
            EXCEPT SELECT medium, address, mxid FROM directory_associations
                WHERE directory = name AND generation = after)
            UNION ALL
            (SELECT medium, address, mxid FROM directory_associations
                WHERE directory = name AND generation = after
            EXCEPT SELECT medium, address, mxid FROM directory_associations
                WHERE directory = name AND generation = before)) AS different;
    RETURN NULL;
END $$;

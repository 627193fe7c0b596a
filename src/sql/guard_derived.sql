-- What streams and what is derived from them cannot do without, while plain DDL
-- would take it away.

-- The triggers that bring batches on, and those that keep others from writing.
CREATE VIEW weir_internal.required_trigger AS
SELECT source::oid AS relation, trigger_name, 'aggregate_batch' AS function, 'continuous aggregate' AS kind, view::oid AS object,
       NULL::text AS name
FROM weir_internal.continuous_aggregate
UNION ALL
SELECT source::oid, trigger_name, 'upsert_batch', 'upsert', target::oid, name FROM weir_internal.upsert
UNION ALL
SELECT source::oid, trigger_name, 'transform_batch', 'transform', target::oid, NULL FROM weir_internal.transform
UNION ALL
SELECT source::oid, trigger_name, 'alert_batch', 'alert', NULL, name FROM weir_internal.alert_definition
UNION ALL
SELECT stream::oid, 'weir_guard', 'guard_staging', 'stream', stream::oid, NULL FROM weir_internal.stream
UNION ALL
SELECT chunk::oid, 'weir_guard', 'guard_staging', 'stream', stream::oid, NULL FROM weir_internal.chunk
UNION ALL
SELECT target::oid, 'weir_guard', 'guard_upsert', 'upsert', target::oid, NULL FROM weir_internal.upsert WHERE owns_target
UNION ALL
SELECT target::oid, 'weir_guard', 'guard_transform', 'transform', target::oid, NULL FROM weir_internal.transform WHERE owns_target;
COMMENT ON VIEW weir_internal.required_trigger IS 'triggers that streams, derived objects and alerts need: without one, rows would be missed in silence';

-- Is a dump being restored?  Its scripts, and pg_restore, set this first.  They
-- drop and create one thing after the other; what is missing in the end is
-- noticed by batches.
CREATE FUNCTION weir_internal.is_restoring() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT NOT current_setting('check_function_bodies')::boolean
$$;
COMMENT ON FUNCTION weir_internal.is_restoring() IS 'is this a session of pg_restore, or one that runs the script of a dump?';

-- Raises an error if relations that are there lack triggers that they need, or
-- have others by their names.  One that is disabled is noticed by batches: a
-- dump of data alone is restored with --disable-triggers.
CREATE FUNCTION weir_internal.check_triggers(relations oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
BEGIN
    SELECT q.kind, q.trigger_name, c.relname, coalesce(q.name, (SELECT o.relname FROM pg_class o WHERE o.oid = q.object)) AS name,
           CASE q.kind WHEN 'alert' THEN format('SELECT weir.drop_alert(%L);', q.name)
                WHEN 'stream' THEN format('SELECT weir.drop_stream(%L);', q.object::regclass)
                ELSE format('SELECT weir.drop(%L);', q.object::regclass) END AS remedy
    INTO r
    FROM weir_internal.required_trigger q
    JOIN pg_class c ON c.oid = q.relation
    WHERE q.relation = ANY (relations) AND NOT EXISTS (
        SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE t.tgrelid = q.relation AND t.tgname = q.trigger_name AND t.tgqual IS NULL
          AND p.pronamespace = 'weir_internal'::regnamespace AND p.proname = q.function)
    LIMIT 1;
    IF FOUND THEN
        RAISE dependent_objects_still_exist USING
            MESSAGE = format('%s "%s" needs trigger "%s" of table "%s"', r.kind, r.name, r.trigger_name, r.relname),
            DETAIL = CASE r.trigger_name WHEN 'weir_guard' THEN 'It keeps others from writing.' ELSE 'Without it, rows would be missed.' END,
            HINT = format('Drop what needs it instead: %s', r.remedy);
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_triggers(oid[]) IS
'raises 2BP01 if relations lack triggers that streams, derived objects and alerts need';

-- Raises an error if a table that takes rows of streams, or a partition of one,
-- is not logged.
CREATE FUNCTION weir_internal.check_logged(relations oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
BEGIN
    SELECT p.relname, k.kind, t.relname AS target INTO c
    FROM unnest(relations) r
    CROSS JOIN LATERAL (SELECT r AS relid UNION SELECT relid FROM pg_partition_ancestors(r)) a
    JOIN (SELECT results::oid AS relid, 'continuous aggregate' AS kind FROM weir_internal.continuous_aggregate
        UNION ALL SELECT target::oid, 'transform' FROM weir_internal.transform
        UNION ALL SELECT target::oid, 'upsert' FROM weir_internal.upsert) k ON k.relid = a.relid
    CROSS JOIN LATERAL (SELECT k.relid UNION SELECT relid FROM pg_partition_tree(k.relid)) m
    JOIN pg_class p ON p.oid = m.relid AND p.relpersistence <> 'p'
    JOIN pg_class t ON t.oid = k.relid
    LIMIT 1;
    IF FOUND THEN
        RAISE invalid_table_definition USING
            MESSAGE = format('table "%s" must be logged', c.relname),
            DETAIL = format('Table "%s" takes rows of a stream (%s). A crash would empty it, and the stream would go on.', c.target, c.kind);
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_logged(oid[]) IS
'raises 42P16 if one of these relations, or a partition of theirs, takes rows of derived objects and is not logged';

CREATE FUNCTION weir_internal.has_unique_key(upsert regclass) RETURNS boolean
LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'weir_has_unique_key';
COMMENT ON FUNCTION weir_internal.has_unique_key(regclass) IS
'has the table of an upsert a unique constraint or index on exactly its key, neither partial nor deferrable?';

-- Raises an error if the table of an upsert cannot take its rows any more.
CREATE FUNCTION weir_internal.check_upsert(target regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    u weir_internal.upsert;
    u_name text;
    c record;
BEGIN
    SELECT * INTO u FROM weir_internal.upsert x WHERE x.target = check_upsert.target;
    u_name := coalesce(u.name, (SELECT t.relname FROM pg_class t WHERE t.oid = u.target::oid));
    -- columns as the query gives them, and ours; keys collate as where positions are kept
    SELECT t.relname, k.attname, format_type(k.atttypid, k.atttypmod) AS type INTO c
    FROM pg_class t CROSS JOIN (
        SELECT a.attname, a.atttypid, a.atttypmod FROM pg_attribute a
        WHERE a.attrelid = u.query::oid AND a.attnum > 0 AND a.attname !~ '^_weir_'
        UNION ALL
        SELECT o.name, o.type::oid, -1
        FROM (VALUES ('_order'::name, 'timestamptz'::regtype), ('_partition', 'int'), ('_offset', 'bigint')) o (name, type)
        WHERE u.owns_target AND (o.name <> '_order' OR u.order_by IS NULL)) k
    LEFT JOIN pg_attribute r ON r.attrelid = u.target::oid AND r.attname = k.attname AND NOT r.attisdropped
    WHERE t.oid = u.target::oid
      AND ((r.atttypid, r.atttypmod) IS DISTINCT FROM (k.atttypid, k.atttypmod)
        OR EXISTS (SELECT FROM pg_attribute p WHERE p.attrelid = u.positions::oid AND p.attname = k.attname
            AND k.attname = ANY (u.key) AND p.attcollation <> r.attcollation))
    LIMIT 1;
    IF FOUND THEN
        RAISE feature_not_supported USING
            MESSAGE = format('table "%s" must keep its column "%s" of type %s', c.relname, c.attname, c.type),
            DETAIL = format('Upsert "%s" writes into it.', u_name),
            HINT = 'Columns may be added; name and convert them as you like in a view over it.';
    END IF;
    IF NOT weir_internal.has_unique_key(u.target) THEN
        RAISE dependent_objects_still_exist USING
            MESSAGE = format('upsert "%s" needs a unique constraint or index on exactly its key (%s)', u_name,
                (SELECT string_agg(quote_ident(n.column), ', ') FROM unnest(u.key) n ("column"))),
            DETAIL = format('Rows of table "%s" are found by it.', (SELECT t.relname FROM pg_class t WHERE t.oid = u.target::oid)),
            HINT = format('Create another one before, neither partial nor deferrable, or drop the upsert: SELECT weir.drop(%L);', u.target);
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_upsert(regclass) IS
'raises 0A000 if columns of an upsert''s table are not what its query gives, 2BP01 if its key is not unique any more';

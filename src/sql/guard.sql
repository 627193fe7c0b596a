-- What keeps the catalogue true when users use plain DDL and DML.

-- Refuses direct changes of staging tables; weir.ingest and the workers pass.
CREATE FUNCTION weir_internal.guard_staging() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'weir_guard_staging';
COMMENT ON FUNCTION weir_internal.guard_staging() IS 'refuses direct INSERT, UPDATE, DELETE and TRUNCATE on a stream';

-- Makes children of a stream follow its indexes and its owner, refuses row
-- triggers on it, and tells its workers when its server has changed.
CREATE FUNCTION weir_internal.follow_ddl(stream regclass) RETURNS void
LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'weir_follow_ddl';
COMMENT ON FUNCTION weir_internal.follow_ddl(regclass) IS 'brings the children of a stream in line with it after DDL';

CREATE FUNCTION weir_internal.touch_stream(stream regclass) RETURNS void
LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'weir_touch_stream';
COMMENT ON FUNCTION weir_internal.touch_stream(regclass) IS 'makes the workers of a stream load its definition anew';

-- Refuses to rename, drop or change the type of a column whose values are remembered.
CREATE FUNCTION weir_internal.check_event_id(stream regclass) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    missing text;
BEGIN
    SELECT i.name INTO missing
    FROM weir_internal.stream s, unnest(s.event_id, s.id_types) i (name, type)
    WHERE s.stream = check_event_id.stream AND NOT EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = s.stream AND a.attname = i.name AND a.atttypid = i.type
            AND a.attnum > 0 AND NOT a.attisdropped)
    LIMIT 1;
    IF missing IS NOT NULL THEN
        RAISE feature_not_supported USING
            MESSAGE = format('stream "%s" must keep its event id column "%s" as it is',
                (SELECT c.relname FROM pg_class c WHERE c.oid = check_event_id.stream), missing),
            HINT = 'The ids that are remembered are of its values. Create another stream for another id.';
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_event_id(regclass) IS
'raises 0A000 if columns of a stream''s event_id are not there, or not of the type that they had';

CREATE FUNCTION weir_internal.forget_expectation(stream regclass, name name) RETURNS void
LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'weir_forget_expectation';
COMMENT ON FUNCTION weir_internal.forget_expectation(regclass, name) IS 'forgets an expectation whose constraint is gone';

CREATE FUNCTION weir_internal.on_ddl_command_end() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s record;
    e record;
BEGIN
    -- a server renamed or altered, a user mapping changed
    FOR s IN
        SELECT DISTINCT st.stream, f.srvname
        FROM pg_event_trigger_ddl_commands() c
        JOIN pg_depend d ON d.refclassid = 'pg_foreign_server'::regclass
            AND d.classid = 'pg_class'::regclass AND d.deptype = 'n'
        JOIN pg_foreign_server f ON f.oid = d.refobjid
        JOIN weir_internal.stream st ON st.stream::oid = d.objid
        WHERE c.classid = 'pg_foreign_server'::regclass AND c.objid = f.oid
           OR c.classid = 'pg_user_mapping'::regclass
              AND f.oid = (SELECT m.umserver FROM pg_user_mapping m WHERE m.oid = c.objid)
    LOOP
        UPDATE weir_internal.stream SET server = s.srvname
        WHERE stream = s.stream AND server <> s.srvname;
        PERFORM weir_internal.touch_stream(s.stream);
    END LOOP;

    -- a trigger by another name, or another one in its place
    PERFORM weir_internal.check_triggers(array_agg(t.tgrelid))
    FROM pg_event_trigger_ddl_commands() c JOIN pg_trigger t ON t.oid = c.objid
    WHERE c.classid = 'pg_trigger'::regclass AND NOT weir_internal.is_restoring()
    HAVING count(*) > 0;

    -- ALTER TABLE … SET UNLOGGED, or an unlogged partition
    PERFORM weir_internal.check_logged(array_agg(c.objid))
    FROM pg_event_trigger_ddl_commands() c
    WHERE c.classid = 'pg_class'::regclass AND c.object_type = 'table'
    HAVING count(*) > 0;

    -- closed windows go to columns of these names
    FOR s IN
        SELECT a.results, k.attname
        FROM pg_event_trigger_ddl_commands() c
        JOIN weir_internal.continuous_aggregate a ON a.results::oid = c.objid
        JOIN pg_attribute k ON k.attrelid = a.finish::oid AND k.attnum > 0 AND NOT k.attisdropped AND k.attname <> 'is_final'
        WHERE c.classid = 'pg_class'::regclass
          AND NOT EXISTS (SELECT FROM pg_attribute r WHERE r.attrelid = a.results::oid AND r.attname = k.attname AND NOT r.attisdropped)
    LOOP
        RAISE feature_not_supported USING
            MESSAGE = format('table "%s" must keep its column "%s"',
                (SELECT c.relname FROM pg_class c WHERE c.oid = s.results::oid), s.attname),
            HINT = 'It takes the closed windows of a continuous aggregate. Columns may be added; name them as you like in a view over it.';
    END LOOP;

    -- rows of transforms go to columns of these names
    FOR s IN
        SELECT t.target, k.attname
        FROM pg_event_trigger_ddl_commands() c
        JOIN weir_internal.transform t ON t.target::oid = c.objid
        CROSS JOIN LATERAL (
            SELECT a.attname FROM pg_attribute a WHERE a.attrelid = t.query::oid AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL SELECT unnest('{_partition,_offset,_timestamp,_watermark}'::name[]) WHERE t.owns_target) k
        WHERE c.classid = 'pg_class'::regclass
          AND NOT EXISTS (SELECT FROM pg_attribute r WHERE r.attrelid = t.target::oid AND r.attname = k.attname AND NOT r.attisdropped)
    LOOP
        RAISE feature_not_supported USING
            MESSAGE = format('table "%s" must keep its column "%s"',
                (SELECT c.relname FROM pg_class c WHERE c.oid = s.target::oid), s.attname),
            HINT = 'It takes the rows of a transform. Columns may be added; name them as you like in a view over it.';
    END LOOP;
    FOR s IN
        SELECT c.relname
        FROM pg_event_trigger_ddl_commands() d
        JOIN weir_internal.transform t ON t.target::oid = d.objid AND t.owns_target
        JOIN pg_class c ON c.oid = d.objid
        JOIN pg_class st ON st.oid = t.stream::oid AND st.relowner <> c.relowner
        WHERE d.classid = 'pg_class'::regclass
    LOOP
        RAISE feature_not_supported USING
            MESSAGE = format('table "%s" must belong to the owner of its stream', s.relname),
            HINT = 'Give the stream to the new owner: its transforms follow.';
    END LOOP;

    -- the staging table itself, or an index, trigger or constraint on it
    FOR s IN
        SELECT DISTINCT st.stream
        FROM pg_event_trigger_ddl_commands() c
        JOIN weir_internal.stream st ON st.stream::oid IN (
            c.objid,
            (SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = c.objid),
            (SELECT t.tgrelid FROM pg_trigger t WHERE t.oid = c.objid),
            (SELECT k.conrelid FROM pg_constraint k WHERE k.oid = c.objid))
        WHERE c.classid IN ('pg_class'::regclass, 'pg_trigger'::regclass, 'pg_constraint'::regclass)
    LOOP
        IF EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = s.stream::oid AND k.contype IN ('p', 'u', 'x', 'f')) THEN
            RAISE feature_not_supported USING
                MESSAGE = format('stream "%s" cannot have primary key, unique, exclusion or foreign key constraints',
                    (SELECT c.relname FROM pg_class c WHERE c.oid = s.stream::oid)),
                HINT = 'Its rows come and go by whole child tables. NOT NULL, CHECK, DEFAULT and GENERATED are honoured.';
        END IF;
        PERFORM weir_internal.check_event_id(s.stream);
        -- dropped with a column or a function, dropped or renamed by itself
        FOR e IN
            SELECT x.name FROM weir_internal.expectation x
            WHERE x.stream = s.stream AND NOT EXISTS (SELECT FROM pg_constraint k
                WHERE k.conrelid = x.stream::oid AND k.conname = x.name AND k.contype = 'c')
        LOOP
            RAISE dependent_objects_still_exist USING
                MESSAGE = format('expectation "%s" of stream "%s" needs its constraint and its columns', e.name,
                    (SELECT c.relname FROM pg_class c WHERE c.oid = s.stream::oid)),
                HINT = format('Drop it first: SELECT weir.drop_expectation(%L, %L);', s.stream, quote_ident(e.name));
        END LOOP;
        PERFORM weir_internal.follow_ddl(s.stream);
    END LOOP;

    -- the latest rows go to columns of these names and types, by a unique key
    IF NOT weir_internal.is_restoring() THEN
        PERFORM weir_internal.check_upsert(u.target) FROM weir_internal.upsert u
        WHERE EXISTS (SELECT FROM pg_event_trigger_ddl_commands() c
            WHERE c.classid = 'pg_class'::regclass AND c.objid IN (u.target, u.positions));
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.on_ddl_command_end() IS 'keeps streams in line with DDL on them and on their servers';

-- Refuses ALTER TYPE and ALTER TABLE where a continuous aggregate could not read
-- back what it keeps.
CREATE FUNCTION weir_internal.guard_types() RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'weir_guard_types';
COMMENT ON FUNCTION weir_internal.guard_types() IS 'refuses changes of types whose values continuous aggregates keep';

-- Drops relations, those of them that are still there, and a trigger.
CREATE FUNCTION weir_internal.drop_relations(relations oid[], trigger_table oid, trigger_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
BEGIN
    IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = trigger_table AND t.tgname = trigger_name) THEN
        EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, trigger_table::regclass);
    END IF;
    FOR r IN
        SELECT c.oid, c.relkind FROM unnest(relations) WITH ORDINALITY u (relation, i)
        JOIN pg_class c ON c.oid = u.relation ORDER BY u.i
    LOOP
        EXECUTE format('DROP %s %s', CASE r.relkind WHEN 'v' THEN 'VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
            r.oid::regclass);
    END LOOP;
END
$$;
COMMENT ON FUNCTION weir_internal.drop_relations(oid[], oid, text) IS 'drops what is left of a derived object';

CREATE FUNCTION weir_internal.on_sql_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone oid[];
    gone_views oid[];
    a record;
    poorer regclass[];
    ids_of_gone oid[];                          -- NULL in it: a stream without event_id
BEGIN
    SELECT array_agg(objid) FILTER (WHERE object_type = 'table'), array_agg(objid) FILTER (WHERE object_type = 'view')
    INTO gone, gone_views
    FROM pg_event_trigger_dropped_objects()
    WHERE classid = 'pg_class'::regclass AND objsubid = 0;
    -- one of its views takes a derived object with it
    FOR a IN DELETE FROM weir_internal.continuous_aggregate
        WHERE view::oid = ANY (gone_views) OR query::oid = ANY (gone_views) RETURNING *
    LOOP
        DELETE FROM weir_internal.aggregate_progress WHERE view = a.view;
        DELETE FROM weir_internal.late_event WHERE view = a.view;
        PERFORM weir_internal.drop_relations(ARRAY[a.view, a.results, a.finish, a.states, a.store, a.query]::oid[],
            a.source::oid, a.trigger_name);
        IF EXISTS (SELECT FROM pg_class WHERE oid = a.stream::oid) THEN
            PERFORM weir_internal.touch_stream(a.stream);
        END IF;
    END LOOP;
    -- what its query reads takes an alert with it
    PERFORM weir_internal.forget_alert(f.name) FROM weir_internal.alert_definition f WHERE f.query::oid = ANY (gone_views);
    FOR a IN DELETE FROM weir_internal.upsert
        WHERE target::oid = ANY (gone) OR query::oid = ANY (gone_views) RETURNING *
    LOOP
        DELETE FROM weir_internal.late_event WHERE view = a.target;
        PERFORM weir_internal.drop_relations(
            ARRAY[CASE WHEN a.owns_target THEN a.target END, a.positions, a.query]::oid[], a.source::oid, a.trigger_name);
        IF EXISTS (SELECT FROM pg_class WHERE oid = a.stream::oid) THEN
            PERFORM weir_internal.touch_stream(a.stream);
        END IF;
    END LOOP;
    -- with a table or view go its checks, their results and alerts
    PERFORM weir_internal.resolve_alert('check', c.name)
    FROM weir_internal.check_definition c
    JOIN pg_event_trigger_dropped_objects() d ON d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.objid = c.target::oid;
    DELETE FROM weir_internal.check_definition c USING pg_event_trigger_dropped_objects() d
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.objid = c.target::oid;
    DELETE FROM weir_internal.check_result r USING pg_event_trigger_dropped_objects() d
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.objid = r.target::oid;
    PERFORM weir_internal.forget_replay(d.objid) FROM pg_event_trigger_dropped_objects() d
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0;
    -- its table, or what its query reads, takes a transform with it
    FOR a IN DELETE FROM weir_internal.transform
        WHERE target::oid = ANY (gone) OR query::oid = ANY (gone_views) RETURNING *
    LOOP
        IF a.owns_target AND a.query::oid = ANY (gone_views) AND EXISTS (SELECT FROM pg_class WHERE oid = a.target::oid) THEN
            EXECUTE format('DROP TABLE %s CASCADE', a.target);   -- as the command said
        END IF;
        PERFORM weir_internal.drop_relations(ARRAY[a.query]::oid[], a.source::oid, a.trigger_name);
        IF EXISTS (SELECT FROM pg_class WHERE oid = a.stream::oid) THEN
            PERFORM weir_internal.touch_stream(a.stream);
        END IF;
    END LOOP;
    -- expectations whose function or type is dropped with CASCADE; ALTER TABLE is refused at its end
    FOR a IN
        SELECT e.stream, e.name FROM pg_event_trigger_dropped_objects() d
        JOIN pg_namespace n ON n.nspname = d.address_names[1]
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = d.address_names[2]
        JOIN weir_internal.expectation e ON e.stream::oid = c.oid AND e.name = d.address_names[3]
        WHERE d.object_type = 'table constraint' AND tg_tag <> 'ALTER TABLE'
    LOOP
        PERFORM weir_internal.forget_expectation(a.stream, a.name);
    END LOOP;
    IF gone IS NOT NULL THEN
        WITH d AS (DELETE FROM weir_internal.chunk WHERE chunk::oid = ANY (gone) OR stream::oid = ANY (gone)
                   RETURNING stream)
        SELECT array_agg(DISTINCT stream::oid)::regclass[] INTO poorer FROM d;
        IF poorer IS NOT NULL THEN
            DELETE FROM weir_internal.chunk_checkpoint WHERE chunk::oid = ANY (gone) OR stream::oid = ANY (gone);
            DELETE FROM weir_internal.verdict WHERE chunk::oid = ANY (gone) OR stream::oid = ANY (gone);
            DELETE FROM weir_internal.refill WHERE chunk::oid = ANY (gone) OR stream::oid = ANY (gone);
            UPDATE weir_internal.dead_letter SET replayed_chunk = NULL WHERE replayed_chunk = ANY (gone::regclass[]);
            -- the checkpoints that are left, and those to come, know of what was before them
            DELETE FROM weir_internal.watermark_floor f USING weir_internal.stream_partition p
            WHERE f.stream = ANY (poorer) AND p.stream = f.stream AND p.partition = f.partition
                AND f.from_offset < least(p.applied_offset, (
                    SELECT min(c.first_offset) FROM weir_internal.chunk_checkpoint c
                    WHERE c.stream = f.stream AND c.partition = f.partition));
        END IF;
        WITH d AS (DELETE FROM weir_internal.stream WHERE stream::oid = ANY (gone) RETURNING ids)
        SELECT array_agg(ids::oid) INTO ids_of_gone FROM d;
        IF ids_of_gone IS NOT NULL THEN
            PERFORM weir_internal.drop_relations(ids_of_gone, NULL, NULL);
            DELETE FROM weir_internal.stream_partition WHERE stream::oid = ANY (gone);
            DELETE FROM weir_internal.watermark_floor WHERE stream::oid = ANY (gone);
            DELETE FROM weir_internal.staging_marker WHERE stream::oid = ANY (gone);
            DELETE FROM weir_internal.gap WHERE stream::oid = ANY (gone);
            DELETE FROM weir_internal.dead_letter WHERE stream::oid = ANY (gone);
            DELETE FROM weir_internal.expectation WHERE stream::oid = ANY (gone);
            DELETE FROM weir_internal.expectation_failure WHERE stream::oid = ANY (gone);
            DELETE FROM weir_internal.expectation_change WHERE stream::oid = ANY (gone);
            DELETE FROM weir_internal.alert WHERE stream::oid = ANY (gone);
            DELETE FROM weir_internal.stream_sample WHERE stream::oid = ANY (gone);
            PERFORM weir_internal.ring();
        END IF;
    END IF;

    -- an index that may have been a key; what ALTER TABLE has done is looked at afterwards
    PERFORM weir_internal.check_upsert(u.target) FROM weir_internal.upsert u
    WHERE tg_tag <> 'ALTER TABLE' AND NOT weir_internal.is_restoring() AND EXISTS (SELECT FROM pg_class c WHERE c.oid = u.target)
      AND EXISTS (SELECT FROM pg_event_trigger_dropped_objects() d WHERE d.object_type = 'index' AND d.original);

    -- triggers by themselves: what needs them is still there, and would miss rows
    PERFORM weir_internal.check_triggers(array_agg(c.oid))
    FROM pg_event_trigger_dropped_objects() d
    JOIN pg_namespace n ON n.nspname = d.address_names[1]
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = d.address_names[2]
    WHERE d.classid = 'pg_trigger'::regclass AND NOT weir_internal.is_restoring()
    HAVING count(*) > 0;

    -- credentials that are in use no more, by streams that are still there
    PERFORM weir_internal.touch_stream(s.stream)
    FROM pg_event_trigger_dropped_objects() d
    JOIN weir_internal.stream s ON s.server = d.address_args[1]
    WHERE d.classid = 'pg_user_mapping'::regclass;
END
$$;
COMMENT ON FUNCTION weir_internal.on_sql_drop() IS 'removes what is left in the catalogue of streams whose table is dropped; tells workers whose credentials are';

CREATE EVENT TRIGGER weir_ddl_command_end ON ddl_command_end
    WHEN TAG IN ('ALTER SERVER', 'CREATE USER MAPPING', 'ALTER USER MAPPING', 'ALTER TABLE', 'CREATE INDEX',
                 'CREATE TRIGGER', 'ALTER TRIGGER')
    EXECUTE FUNCTION weir_internal.on_ddl_command_end();
CREATE EVENT TRIGGER weir_ddl_command_start ON ddl_command_start
    WHEN TAG IN ('ALTER TYPE', 'ALTER TABLE')
    EXECUTE FUNCTION weir_internal.guard_types();
CREATE EVENT TRIGGER weir_sql_drop ON sql_drop
    EXECUTE FUNCTION weir_internal.on_sql_drop();
COMMENT ON EVENT TRIGGER weir_ddl_command_end IS 'keeps streams in line with DDL on them and on their servers';
COMMENT ON EVENT TRIGGER weir_ddl_command_start IS 'refuses changes of types whose values continuous aggregates keep';
COMMENT ON EVENT TRIGGER weir_sql_drop IS 'removes what is left in the catalogue of streams whose table is dropped';

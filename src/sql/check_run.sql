-- Checks, created and run.

-- dbt's habit: severity error asks error_if, then warn_if; severity warn asks
-- warn_if.  A condition that is not given is "!= 0"; but with warn_if alone,
-- nothing is an error.
CREATE FUNCTION weir_internal.check_status(d weir_internal.check_definition, failed bigint, items bigint, level text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN d.mostly IS NOT NULL AND items - failed >= d.mostly * items THEN 'pass'
        WHEN d.warn_if IS NULL AND d.error_if IS NULL THEN
            CASE WHEN failed = 0 THEN 'pass' WHEN d.severity = 'warn' OR level = 'warn' THEN 'warn' ELSE 'fail' END
        WHEN d.severity = 'error' AND weir_internal.check_threshold('error_if', d.error_if, failed, items) THEN 'fail'
        WHEN coalesce(weir_internal.check_threshold('warn_if', d.warn_if, failed, items), failed > 0) THEN 'warn'
        ELSE 'pass' END
$$;
COMMENT ON FUNCTION weir_internal.check_status(weir_internal.check_definition, bigint, bigint, text) IS
'pass, warn or fail, by mostly, warn_if, error_if and severity';

-- What a check expects of rows.
CREATE FUNCTION weir_internal.check_expected(d weir_internal.check_definition) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(nullif(concat_ws(', ', 'at least ' || round((100 * d.mostly)::numeric, 4)::float8 || ' %',
        'warning if failed rows ' || d.warn_if, 'failure if failed rows ' || d.error_if), ''), '100 %')
$$;
COMMENT ON FUNCTION weir_internal.check_expected(weir_internal.check_definition) IS 'what a check on rows expects, in words';

-- Relations that the rows of a sample are of.
CREATE FUNCTION weir_internal.check_sample_of(d weir_internal.check_definition) RETURNS oid[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY[d.target::oid] || CASE WHEN d.kind = 'reconcile' AND d.params ? 'with' THEN ARRAY[to_regclass(d.params->>'with')::oid] ELSE '{}' END
$$;
COMMENT ON FUNCTION weir_internal.check_sample_of(weir_internal.check_definition) IS 'the relations that rows of a check''s sample are of';

-- Runs a check as its owner: a result for each group.  An error is a result, too.
CREATE FUNCTION weir_internal.check_judge(d weir_internal.check_definition, run_id bigint) RETURNS SETOF weir_internal.check_result
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    started timestamptz := clock_timestamp();
    q record;
    g record;
    r weir_internal.check_result;
BEGIN
    r.run_id := run_id;
    r.check_name := d.name;
    r.owner := d.owner;
    r.target := d.target;
    r.column_name := coalesce(d.params->>'column', (SELECT string_agg(c, ', ') FROM jsonb_array_elements_text(d.params->'columns') c));
    r.kind := d.kind;
    r.severity := d.severity;
    r.sample_of := weir_internal.check_sample_of(d);
    BEGIN
        SELECT * INTO q FROM weir_internal.query_as(d.owner, d.search_path, format('SELECT jsonb_agg(to_jsonb(weir_r) ORDER BY weir_r.weir_key) FROM (SELECT * FROM (%s) x LIMIT 1001) weir_r',
            weir_internal.check_statement(d.owner, d.kind, d.target, d.params, d.filter, d.group_by, current_setting('weir.check_sample_rows')::int)), d.params);
    EXCEPTION WHEN OTHERS THEN
        -- the definition does not fit the table any more
        SELECT NULL::jsonb AS value, SQLSTATE AS sqlstate, SQLERRM AS message INTO q;
    END;
    IF jsonb_array_length(q.value) > 1000 THEN
        SELECT NULL::jsonb AS value, '54000' AS sqlstate, 'the check has more than 1000 groups' AS message INTO q;
    END IF;
    r.duration := clock_timestamp() - started;
    r.run_at := started;
    IF q.value IS NULL THEN
        r.status := CASE WHEN q.sqlstate IS NULL THEN 'skipped' ELSE 'error' END;
        r.sqlstate := q.sqlstate;
        r.message := coalesce(q.message, 'there are no rows');
        RETURN NEXT r;
        RETURN;
    END IF;
    FOR g IN SELECT * FROM jsonb_to_recordset(q.value) x (weir_key jsonb, failed bigint, items bigint, total bigint, observed text,
        expected text, sample jsonb, level text, skipped text)
    LOOP
        r.group_key := g.weir_key;
        r.status := CASE WHEN g.skipped IS NOT NULL THEN 'skipped' ELSE weir_internal.check_status(d, g.failed, g.items, g.level) END;
        r.observed := g.observed;
        r.expected := coalesce(g.expected, weir_internal.check_expected(d));
        r.failed_rows := CASE WHEN g.skipped IS NULL THEN g.failed END;
        r.total_rows := g.total;
        r.sample := g.sample;
        r.message := g.skipped;
        RETURN NEXT r;
    END LOOP;
END
$$;
COMMENT ON FUNCTION weir_internal.check_judge(weir_internal.check_definition, bigint) IS 'runs a check; its results, which are not kept yet';

CREATE FUNCTION weir_internal.check_show(r weir_internal.check_result) RETURNS weir.check_results
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.run_id, r.check_name, r.target, r.column_name, r.status, r.observed, r.expected, r.failed_rows, r.total_rows, r.sample,
           r.duration, r.run_at, r.kind, r.severity, r.group_key, r.sqlstate, r.message
$$;
COMMENT ON FUNCTION weir_internal.check_show(weir_internal.check_result) IS 'a result as weir.check_results shows it to the check''s owner';

-- Raises or resolves the alert of a check.
CREATE FUNCTION weir_internal.check_alert(d weir_internal.check_definition, results weir_internal.check_result[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bad text[];
    worst text;
BEGIN
    SELECT array_agg(r.status), (array_agg(r.status ORDER BY array_position('{error,fail,warn}', r.status)))[1] INTO bad, worst
    FROM unnest(results) r WHERE r.status IN ('warn', 'fail', 'error');
    IF bad IS NOT NULL THEN
        PERFORM weir_internal.raise_alert('check', d.name, CASE worst WHEN 'warn' THEN 'warn' ELSE 'error' END,
            format('check "%s" on %s: %s', d.name, weir_internal.check_relation(d.target), CASE worst WHEN 'error' THEN 'could not be run'
                WHEN 'warn' THEN 'warning' ELSE 'failed' END) || CASE WHEN cardinality(bad) > 1 THEN format(' in %s groups', cardinality(bad)) ELSE '' END,
            jsonb_build_object('check', d.name, 'target', weir_internal.check_relation(d.target), 'kind', d.kind, 'status', worst,
                'groups', (SELECT jsonb_agg(g.group_key) FROM (SELECT r.group_key FROM unnest(results) r
                    WHERE r.status IN ('warn', 'fail', 'error') AND r.group_key IS NOT NULL LIMIT 20) g), 'failed_rows', (SELECT sum(r.failed_rows) FROM unnest(results) r), 'total_rows', (SELECT sum(r.total_rows) FROM unnest(results) r)),
            d.owner);
    ELSIF EXISTS (SELECT FROM unnest(results) r WHERE r.status = 'pass') THEN
        PERFORM weir_internal.resolve_alert('check', d.name);
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_alert(weir_internal.check_definition, weir_internal.check_result[]) IS 'raises or resolves the alert of a check, as its results say';

CREATE FUNCTION weir.create_check(
    name text, target regclass, kind text, params jsonb DEFAULT '{}', severity text DEFAULT 'error', schedule text DEFAULT NULL,
    filter text DEFAULT NULL, group_by text[] DEFAULT NULL, mostly float8 DEFAULT NULL, warn_if text DEFAULT NULL,
    error_if text DEFAULT NULL, tags text[] DEFAULT '{}', enabled boolean DEFAULT true, if_not_exists boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.create_check(text, regclass, text, jsonb, text, text, text, text[], float8, text, text, text[], boolean, boolean) IS
'Creates a check on a table or view that the caller may read; it is run with the caller''s rights. kind and the keys of params are listed in docs/quality.md. severity: error, or warn, which never fails. schedule: a cron expression (see weir.cron_next; UTC), by which weir.schedule has it run; one that was missed is run once. filter: SQL condition for the rows that count. group_by: columns; each group is judged. mostly: the share of rows, 0 to 1, that is enough. warn_if, error_if: conditions on failed rows, such as > 10 or >= 5%. tags: for weir.run_checks. Kinds and keys that do not exist are refused (42704), columns, too (42703); SQL is parsed, not run.';

CREATE FUNCTION weir_internal.create_check(
    caller oid, caller_path text, name text, target regclass, kind text, params jsonb, severity text, schedule text, filter text,
    group_by text[], mostly float8, warn_if text, error_if text, tags text[], enabled boolean, if_not_exists boolean)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d weir_internal.check_definition;
BEGIN
    IF name IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'parameter "name" must not be NULL';
    ELSIF name = '' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'parameter "name" must not be empty';
    ELSIF EXISTS (SELECT FROM weir_internal.check_definition c WHERE c.name = create_check.name) THEN
        IF if_not_exists THEN
            RAISE NOTICE USING MESSAGE = format('check "%s" already exists, skipping', name), ERRCODE = 'duplicate_object';
            RETURN;
        END IF;
        RAISE duplicate_object USING MESSAGE = format('check "%s" already exists', name);
    END IF;
    d := weir_internal.check_define(caller, caller_path, name, target, kind, params, severity, filter, group_by, mostly, warn_if, error_if);
    PERFORM weir.cron_next(schedule);       -- refuses what is no cron expression
    d.schedule := schedule;
    d.tags := coalesce(tags, '{}');
    d.enabled := coalesce(enabled, true);
    d.created_at := clock_timestamp();
    d.scheduled_at := d.created_at;
    INSERT INTO weir_internal.check_definition SELECT d.*;
    IF schedule IS NOT NULL AND NOT EXISTS (SELECT FROM weir_internal.task t WHERE t.name = 'weir_run_checks') THEN
        RAISE WARNING USING MESSAGE = 'schedules of checks stand still: nothing runs them',
            HINT = 'Have a superuser run SELECT weir.schedule().';
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.create_check(oid, text, text, regclass, text, jsonb, text, text, text, text[], float8, text, text, text[], boolean, boolean) IS
'does what weir.create_check says';

-- A check whose owner's rights the caller has.
CREATE FUNCTION weir_internal.own_check(caller oid, name text) RETURNS weir_internal.check_definition
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d weir_internal.check_definition;
BEGIN
    SELECT * INTO d FROM weir_internal.check_definition c WHERE c.name = own_check.name;
    IF NOT FOUND THEN
        RAISE undefined_object USING MESSAGE = format('check "%s" does not exist', name);
    ELSIF NOT pg_has_role(caller, d.owner, 'USAGE') THEN
        RAISE insufficient_privilege USING MESSAGE = format('must be owner of check "%s"', name);
    END IF;
    RETURN d;
END
$$;
COMMENT ON FUNCTION weir_internal.own_check(oid, text) IS 'a check whose owner''s rights the caller has; 42704, 42501';

CREATE FUNCTION weir.drop_check(name text) RETURNS void
LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.drop_check(text) IS 'Drops a check, and resolves its alert. Its results stay. For its owner.';

CREATE FUNCTION weir_internal.drop_check(caller oid, caller_path text, name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM weir_internal.own_check(caller, name);
    DELETE FROM weir_internal.check_definition c WHERE c.name = drop_check.name;
    PERFORM weir_internal.resolve_alert('check', name);
END
$$;
COMMENT ON FUNCTION weir_internal.drop_check(oid, text, text) IS 'does what weir.drop_check says';

CREATE FUNCTION weir.run_checks(name text DEFAULT NULL, target regclass DEFAULT NULL, tag text DEFAULT NULL) RETURNS SETOF weir.check_results
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.run_checks(text, regclass, text) IS
'Runs checks one after the other, keeps and returns their results: the one of that name (42704 if there is none), those on a table, those with a tag, or all; of those whose owner''s rights the caller has, and which are enabled (one that is named and is not: skipped). Each runs as its owner, is one statement and sees one snapshot, takes at most weir.check_timeout, and takes no locks that writers wait for. One that raises an error has status error, and the others go on. In a task, one of severity error that fails, or raises, fails the task''s run, whose results are kept.';

CREATE FUNCTION weir_internal.run_checks(caller oid, caller_path text, name text, target regclass, tag text) RETURNS SETOF weir.check_results
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    run_id bigint := nextval('weir_internal.check_run');
    d weir_internal.check_definition;
    r weir_internal.check_result;
BEGIN
    IF name IS NOT NULL THEN
        PERFORM weir_internal.own_check(caller, name);
    END IF;
    FOR d IN SELECT * FROM weir_internal.check_definition c
        WHERE c.name = coalesce(run_checks.name, c.name) AND c.target::oid = coalesce(run_checks.target::oid, c.target::oid)
          AND (tag IS NULL OR tag = ANY (c.tags)) AND (c.enabled OR run_checks.name IS NOT NULL)
          AND pg_has_role(caller, c.owner, 'USAGE')
        ORDER BY c.name COLLATE "C"
    LOOP
        FOR r IN SELECT * FROM weir_internal.check_keep(d, run_id) LOOP
            RETURN NEXT weir_internal.check_show(r);
            IF r.status IN ('fail', 'error') AND r.severity = 'error' THEN
                PERFORM weir_internal.fail_task(format('check "%s" has status %s', r.check_name, r.status));
            END IF;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION weir_internal.run_checks(oid, text, text, regclass, text) IS 'does what weir.run_checks says';

CREATE FUNCTION weir_internal.check_run_or_skip(d weir_internal.check_definition, run_id bigint) RETURNS SETOF weir_internal.check_result
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r weir_internal.check_result;
BEGIN
    IF d.enabled THEN
        RETURN QUERY SELECT * FROM weir_internal.check_judge(d, run_id);
        RETURN;
    END IF;
    r.run_id := run_id;
    r.check_name := d.name;
    r.owner := d.owner;
    r.target := d.target;
    r.kind := d.kind;
    r.severity := d.severity;
    r.sample_of := '{}';
    r.status := 'skipped';
    r.message := 'the check is not enabled';
    r.duration := '0';
    r.run_at := clock_timestamp();
    RETURN NEXT r;
END
$$;
COMMENT ON FUNCTION weir_internal.check_run_or_skip(weir_internal.check_definition, bigint) IS 'the results of a check, or that it is not enabled';

CREATE FUNCTION weir_internal.check_keep(d weir_internal.check_definition, run_id bigint) RETURNS SETOF weir_internal.check_result
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r weir_internal.check_result;
    results weir_internal.check_result[] := '{}';
BEGIN
    FOR r IN SELECT * FROM weir_internal.check_run_or_skip(d, run_id) LOOP
        results := results || r;
        INSERT INTO weir_internal.check_result (run_id, check_name, owner, target, column_name, status, observed, expected, failed_rows,
            total_rows, sample, sample_of, duration, run_at, kind, severity, group_key, sqlstate, message)
        VALUES (r.run_id, r.check_name, r.owner, r.target, r.column_name, r.status, r.observed, r.expected, r.failed_rows,
            r.total_rows, r.sample, r.sample_of, r.duration, r.run_at, r.kind, r.severity, r.group_key, r.sqlstate, r.message);
        RETURN NEXT r;
    END LOOP;
    PERFORM weir_internal.check_alert(d, results);
END
$$;
COMMENT ON FUNCTION weir_internal.check_keep(weir_internal.check_definition, bigint) IS 'runs a check, keeps its results and returns them, raises or resolves its alert';

-- Has a time of its schedule passed that has not been seen to?  Several count as one.
CREATE FUNCTION weir_internal.check_is_due(d weir_internal.check_definition) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.enabled AND coalesce(weir.cron_previous(d.schedule, clock_timestamp() + interval '1 us') > d.scheduled_at, false)
$$;
COMMENT ON FUNCTION weir_internal.check_is_due(weir_internal.check_definition) IS 'is a check to be run now, as its schedule says?';

-- Run by the task weir_run_checks, as a superuser.  Each check is a transaction
-- of its own, so that a long one holds nothing back for the others.
CREATE PROCEDURE weir_internal.run_due_checks()
LANGUAGE plpgsql AS $$
DECLARE
    due text[] := ARRAY(SELECT c.name FROM weir_internal.check_definition c WHERE weir_internal.check_is_due(c) ORDER BY c.name COLLATE "C");
    run_id bigint := CASE WHEN due <> '{}' THEN nextval('weir_internal.check_run') END;
    began timestamptz;
    d weir_internal.check_definition;
    i text;
BEGIN
    FOREACH i IN ARRAY due LOOP
        began := clock_timestamp();
        SELECT * INTO d FROM weir_internal.check_definition c WHERE c.name = i AND weir_internal.check_is_due(c);
        CONTINUE WHEN NOT FOUND;            -- dropped or disabled meanwhile
        PERFORM weir_internal.check_keep(d, run_id);
        UPDATE weir_internal.check_definition c SET scheduled_at = began WHERE c.name = i;
        COMMIT;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE weir_internal.run_due_checks() IS 'runs the checks whose schedule has come due, whoever owns them; those that were missed once';

CREATE FUNCTION weir.try_check(
    target regclass, kind text, params jsonb DEFAULT '{}', severity text DEFAULT 'error', filter text DEFAULT NULL,
    group_by text[] DEFAULT NULL, mostly float8 DEFAULT NULL, warn_if text DEFAULT NULL, error_if text DEFAULT NULL)
RETURNS SETOF weir.check_results
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.try_check(regclass, text, jsonb, text, text, text[], float8, text, text) IS
'Runs a check that is not created, as the caller, and returns its results without keeping them. The parameters are those of weir.create_check.';

CREATE FUNCTION weir_internal.try_check(
    caller oid, caller_path text, target regclass, kind text, params jsonb, severity text, filter text, group_by text[], mostly float8,
    warn_if text, error_if text)
RETURNS SETOF weir.check_results
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d weir_internal.check_definition := weir_internal.check_define(caller, caller_path, NULL, target, kind, params, severity, filter,
        group_by, mostly, warn_if, error_if);
BEGIN
    RETURN QUERY SELECT (weir_internal.check_show(r)).* FROM weir_internal.check_judge(d, NULL) r;
END
$$;
COMMENT ON FUNCTION weir_internal.try_check(oid, text, regclass, text, jsonb, text, text, text[], float8, text, text) IS 'does what weir.try_check says';

CREATE FUNCTION weir.purge_check_results(older_than interval DEFAULT NULL) RETURNS bigint
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.purge_check_results(interval) IS
'Deletes results of checks that are older than that (NULL: weir.check_retention), of those whose owner''s rights the caller has; returns how many.';

CREATE FUNCTION weir_internal.purge_check_results(caller oid, caller_path text, older_than interval) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n bigint;
BEGIN
    DELETE FROM weir_internal.check_result r
    WHERE r.run_at < clock_timestamp() - coalesce(older_than, current_setting('weir.check_retention')::interval)
      AND pg_has_role(caller, r.owner, 'USAGE');
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
COMMENT ON FUNCTION weir_internal.purge_check_results(oid, text, interval) IS 'does what weir.purge_check_results says';

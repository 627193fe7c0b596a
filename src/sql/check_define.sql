-- Checks, defined: what is asked of a definition, and what is said where it is not right.

CREATE FUNCTION weir_internal.check_said(d weir_internal.check_definition) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN d.name IS NULL THEN format('a check of kind "%s"', d.kind) ELSE format('check "%s" of kind "%s"', d.name, d.kind) END
$$;
COMMENT ON FUNCTION weir_internal.check_said(weir_internal.check_definition) IS 'what messages call a check';

CREATE FUNCTION weir_internal.check_refuse(
    d weir_internal.check_definition, key text, problem text, detail text DEFAULT NULL, hint text DEFAULT NULL, code text DEFAULT '22023')
RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = code, DETAIL = coalesce(detail, ''), HINT = coalesce(hint, ''),
        MESSAGE = format('key "%s" of params for %s %s', key, weir_internal.check_said(d), problem);
END
$$;
COMMENT ON FUNCTION weir_internal.check_refuse(weir_internal.check_definition, text, text, text, text, text) IS 'raises an error about a key of params';

-- What a role calls a relation or types, under its search_path.
CREATE FUNCTION weir_internal.check_resolve(role oid, path text, sql text, params jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record := weir_internal.query_as(role, path, sql, params);
BEGIN
    IF r.sqlstate IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = r.sqlstate, MESSAGE = r.message;
    END IF;
    RETURN r.value;
END
$$;
COMMENT ON FUNCTION weir_internal.check_resolve(oid, text, text, jsonb) IS 'runs weir_internal.query_as, and raises its error';

-- 42703 unless the target has the column; its type else.
CREATE FUNCTION weir_internal.check_column(target oid, name text) RETURNS oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    type oid;
BEGIN
    SELECT a.atttypid INTO type FROM pg_attribute a
    WHERE a.attrelid = target AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped;
    IF type IS NULL THEN
        RAISE undefined_column USING
            MESSAGE = format('column "%s" of relation "%s" does not exist', name, (SELECT c.relname FROM pg_class c WHERE c.oid = target)),
            HINT = 'It has ' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped) || '.';
    END IF;
    RETURN (SELECT CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END FROM pg_type t WHERE t.oid = type);
END
$$;
COMMENT ON FUNCTION weir_internal.check_column(oid, text) IS 'the type of a column; 42703 if there is none';

-- 42501 unless a role may read some of a relation.
CREATE FUNCTION weir_internal.check_readable(role oid, relation oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT coalesce(has_any_column_privilege(role, relation, 'SELECT'), false) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied for relation "%s"', (SELECT c.relname FROM pg_class c WHERE c.oid = relation)),
            HINT = format('A check is run with the rights of who creates it: GRANT SELECT to "%s".', pg_get_userbyid(role));
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_readable(oid, oid) IS 'raises 42501 where a role may not read a relation';

-- How a relation is written in a statement.
CREATE FUNCTION weir_internal.check_relation(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation
$$;
COMMENT ON FUNCTION weir_internal.check_relation(oid) IS 'a relation''s name, qualified and quoted';

-- Keys that name relations and types are put down so that they mean the same to everybody.
CREATE FUNCTION weir_internal.check_names(d weir_internal.check_definition) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    params jsonb := d.params;
    k text;
    v text;
    id oid;
BEGIN
    FOR k, v IN SELECT e.key, e.value FROM jsonb_each_text(params) e
        WHERE e.key IN ('same_as', 'to', 'with', 'stream') OR e.key = 'baseline' AND d.kind = 'drift'
    LOOP
        id := (weir_internal.check_resolve(d.owner, d.search_path, 'SELECT to_jsonb(to_regclass($1->>''name'')::oid::bigint)', jsonb_build_object('name', v)))::bigint::oid;
        IF id IS NULL THEN
            RAISE undefined_table USING MESSAGE = format('relation "%s" does not exist', v);
        END IF;
        PERFORM weir_internal.check_readable(d.owner, id);
        params := jsonb_set(params, ARRAY[k], to_jsonb(weir_internal.check_relation(id)));
    END LOOP;
    IF d.kind = 'schema_changes' AND NOT params ? 'baseline' THEN
        params := params || jsonb_build_object('baseline', (SELECT jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod))
            FROM pg_attribute a WHERE a.attrelid = d.target AND a.attnum > 0 AND NOT a.attisdropped));
    ELSIF d.kind IN ('schema', 'schema_changes') AND params ?| '{types,baseline}' THEN
        k := CASE d.kind WHEN 'schema' THEN 'types' ELSE 'baseline' END;
        FOR v, id IN SELECT e.key, e.value::bigint::oid FROM jsonb_each_text(weir_internal.check_resolve(d.owner, d.search_path,
            'SELECT jsonb_object_agg(e.key, to_regtype(e.value)::oid::bigint) FROM jsonb_each_text($1) e', params->k)) e
        LOOP
            IF id IS NULL THEN
                RAISE undefined_object USING MESSAGE = format('type "%s" does not exist', params->k->>v);
            ELSIF params->k->>v NOT LIKE '%(%' THEN
                params := jsonb_set(params, ARRAY[k, v], to_jsonb(format_type(id, NULL)));
            END IF;
        END LOOP;
    END IF;
    RETURN params;
END
$$;
COMMENT ON FUNCTION weir_internal.check_names(weir_internal.check_definition) IS 'params with names of relations and types that mean the same under every search_path';

-- The JSON type that the value of a key has.
CREATE FUNCTION weir_internal.check_json_type(kind text, key text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN key IN ('columns', 'values', 'required', 'forbidden') THEN 'array'
        WHEN key = 'types' OR key = 'baseline' AND kind = 'schema_changes' THEN 'object'
        WHEN key IN ('inclusive', 'ordered', 'audit') THEN 'boolean'
        WHEN key IN ('drop', 'spike', 'sensitivity', 'min_training_set', 'threshold', 'bins', 'min_rows')
          OR key IN ('min', 'max') AND kind IN ('row_count', 'cardinality') THEN 'number'
        WHEN key IN ('min', 'max') THEN 'any' ELSE 'string' END
$$;
COMMENT ON FUNCTION weir_internal.check_json_type(text, text) IS 'the JSON type of a key of params; any: a number or a string';

-- Values of params are converted now, as a role, not when the check is run.
CREATE FUNCTION weir_internal.check_convert(d weir_internal.check_definition, key text, sql text, problem text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record := weir_internal.query_as(d.owner, d.search_path, format('SELECT to_jsonb((%s))', sql), d.params);
BEGIN
    IF r.sqlstate LIKE '22%' THEN
        PERFORM weir_internal.check_refuse(d, key, problem, upper(left(r.message, 1)) || substr(r.message, 2) || '.');
    ELSIF r.sqlstate IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = r.sqlstate, MESSAGE = r.message;
    END IF;
    RETURN r.value;
END
$$;
COMMENT ON FUNCTION weir_internal.check_convert(weir_internal.check_definition, text, text, text) IS
'an expression of a key of params; 22023 where the key''s value cannot be converted';

-- Intervals, times and patterns, which every kind reads alike.
CREATE FUNCTION weir_internal.check_text(d weir_internal.check_definition, key text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problem text;
BEGIN
    IF key IN ('warn_after', 'error_after', 'bucket', 'window', 'training_period', 'period') THEN
        problem := 'must be a positive interval' || CASE key WHEN 'bucket' THEN ' without months' ELSE '' END;
        PERFORM weir_internal.check_convert(d, key, format('($1->>%L)::interval', key), problem);
        IF (d.params->>key)::interval <= '0'
           OR key = 'bucket' AND extract(year FROM (d.params->>key)::interval) + extract(month FROM (d.params->>key)::interval) > 0 THEN
            PERFORM weir_internal.check_refuse(d, key, problem);
        END IF;
    ELSIF key = 'as_of' THEN
        PERFORM weir_internal.check_convert(d, key, '($1->>''as_of'')::timestamptz', 'must be a time');
    ELSIF key = 'pattern' THEN
        PERFORM weir_internal.check_convert(d, key, ''''' ~ ($1->>''pattern'')', 'must be a regular expression');
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_text(weir_internal.check_definition, text) IS 'raises 22023 where a key is no interval, time or pattern, and should be';

-- What types the values of keys have, one by one.
CREATE FUNCTION weir_internal.check_values(d weir_internal.check_definition) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k text;
    v jsonb;
    t text;
    allowed text[];
BEGIN
    FOR k, v, t IN SELECT e.key, e.value, weir_internal.check_json_type(d.kind, e.key) FROM jsonb_each(d.params) e LOOP
        IF t <> 'any' AND jsonb_typeof(v) <> t THEN
            PERFORM weir_internal.check_refuse(d, k, format('must be %s %s, not %s', CASE WHEN t ~ '^[ao]' THEN 'an' ELSE 'a' END, t, jsonb_typeof(v)));
        ELSIF t = 'any' AND jsonb_typeof(v) NOT IN ('number', 'string') THEN
            PERFORM weir_internal.check_refuse(d, k, format('must be a number or a string, not %s', jsonb_typeof(v)));
        ELSIF t = 'array' AND jsonb_array_length(v) = 0 THEN
            PERFORM weir_internal.check_refuse(d, k, 'must not be empty');
        ELSIF k IN ('columns', 'required', 'forbidden') AND EXISTS (SELECT FROM jsonb_array_elements(v) e WHERE jsonb_typeof(e) <> 'string') THEN
            PERFORM weir_internal.check_refuse(d, k, 'must be an array of strings');
        ELSIF t = 'object' AND (v = '{}' OR EXISTS (SELECT FROM jsonb_each(v) e WHERE jsonb_typeof(e.value) <> 'string')) THEN
            PERFORM weir_internal.check_refuse(d, k, 'must be an object of column names and types');
        ELSIF t = 'number' AND k NOT IN ('min', 'max') AND v::numeric <= 0 OR k = 'bins' AND v::numeric NOT BETWEEN 2 AND 1000
           OR k IN ('bins', 'min_training_set', 'min_rows') AND v::numeric <> floor(v::numeric)
           OR k = 'drop' AND v::numeric > 100 OR k = 'audit' AND v = 'false' THEN
            PERFORM weir_internal.check_refuse(d, k, format('must not be %s', v));
        END IF;
        PERFORM weir_internal.check_text(d, k);
        allowed := CASE k WHEN 'direction' THEN '{both,drop,spike}' WHEN 'method' THEN '{psi,ks}' WHEN 'against' THEN '{trailing,same_hour}'
            WHEN 'seasonality' THEN '{day_of_week,hour_of_day,hour_of_week}' WHEN 'metric' THEN '{row_count,sum,avg,min,max,null_rate,cardinality}' END;
        IF (v #>> '{}') <> ALL (allowed) THEN
            PERFORM weir_internal.check_refuse(d, k, format('must not be "%s"', v #>> '{}'), hint => 'One of ' || array_to_string(allowed, ', ') || '.');
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION weir_internal.check_values(weir_internal.check_definition) IS 'raises 22023 where a value of params is of the wrong type or out of range';

-- Keys that do not go with each other.
CREATE FUNCTION weir_internal.check_together(d weir_internal.check_definition) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p jsonb := d.params;
BEGIN
    IF p ? 'same_as' AND p ?| '{min,max}' THEN
        PERFORM weir_internal.check_refuse(d, 'same_as', 'goes without min and max');
    ELSIF d.kind = 'reconcile' AND (SELECT count(*) FROM jsonb_object_keys(p) k WHERE k IN ('with', 'stream', 'audit')) <> 1 THEN
        PERFORM weir_internal.check_refuse(d, 'with', 'goes without stream and audit, and these without each other');
    ELSIF d.kind = 'reconcile' AND p ? 'columns' AND NOT p ? 'with' THEN
        PERFORM weir_internal.check_refuse(d, 'columns', 'goes with with');
    ELSIF d.kind = 'anomaly' AND (coalesce(p->>'metric', 'row_count') <> 'row_count') <> (p ? 'column') THEN
        PERFORM weir_internal.check_refuse(d, 'column', 'goes with every metric but row_count');
    ELSIF d.kind = 'drift' AND p ? 'baseline' AND p ? 'timestamp_column' THEN
        PERFORM weir_internal.check_refuse(d, 'timestamp_column', 'goes without baseline');
    ELSIF (p->>'warn_after')::interval > (p->>'error_after')::interval THEN
        PERFORM weir_internal.check_refuse(d, 'warn_after', 'must not be more than error_after');
    ELSIF d.kind IN ('row_count', 'cardinality') AND (p->'min')::numeric > (p->'max')::numeric THEN
        PERFORM weir_internal.check_refuse(d, 'min', 'must not be more than max');
    ELSIF d.filter IS NOT NULL AND (d.kind IN ('schema', 'schema_changes') OR p ? 'audit') THEN
        RAISE feature_not_supported USING MESSAGE = weir_internal.check_said(d) || ' reads no rows: it takes no filter';
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_together(weir_internal.check_definition) IS 'raises 22023 where keys of params contradict each other';

-- Kinds and keys that there are not, and keys that are missing.
CREATE FUNCTION weir_internal.check_keys(d weir_internal.check_definition) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k record;
    unknown text;
    needs text;
BEGIN
    SELECT * INTO k FROM weir_internal.check_kinds() x WHERE x.kind = d.kind;
    IF NOT FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('check kind "%s" does not exist', d.kind),
            HINT = 'One of ' || (SELECT string_agg(x.kind, ', ') FROM weir_internal.check_kinds() x) || '.';
    ELSIF jsonb_typeof(d.params) <> 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('params for %s must be a JSON object, not %s', weir_internal.check_said(d), jsonb_typeof(d.params));
    END IF;
    SELECT o INTO unknown FROM jsonb_object_keys(d.params) o WHERE o <> ALL (k.keys) LIMIT 1;
    IF unknown IS NOT NULL THEN
        PERFORM weir_internal.check_refuse(d, unknown, 'does not exist', hint => 'Its keys are ' || array_to_string(k.keys, ', ') || '.', code => '42704');
    ELSIF NOT d.params ?& k.required OR cardinality(k.one_of) > 0 AND NOT d.params ?| k.one_of THEN
        needs := concat_ws(', and ', nullif(array_to_string(k.required, ', '), ''), 'one of ' || nullif(array_to_string(k.one_of, ', '), ''));
        RAISE null_value_not_allowed USING
            MESSAGE = format('params for %s have no %s', weir_internal.check_said(d), coalesce(
                (SELECT string_agg(format('"%s"', x), ', ') FROM unnest(k.required) x WHERE NOT d.params ? x),
                (SELECT string_agg(format('"%s"', x), ' or ') FROM unnest(k.one_of) x))),
            HINT = format('It needs %s.', needs);
    ELSIF d.group_by IS NOT NULL AND NOT k.grouped THEN
        RAISE feature_not_supported USING MESSAGE = weir_internal.check_said(d) || ' has no groups';
    ELSIF cardinality(d.group_by) NOT BETWEEN 1 AND 40 OR array_position(d.group_by, NULL) IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('parameter "group_by" of %s must name 1 to 40 columns', weir_internal.check_said(d));
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_keys(weir_internal.check_definition) IS
'raises 42704 for kinds and keys that do not exist, 22004 for keys that are missing';

-- Columns that there are not, or that are no times where these are asked for.
CREATE FUNCTION weir_internal.check_has_columns(d weir_internal.check_definition) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k text;
    c text;
    type oid;
BEGIN
    FOR k, c IN SELECT x, d.params->>x FROM unnest('{column,timestamp_column}'::text[]) x WHERE d.params ? x
        UNION ALL SELECT 'columns', x FROM jsonb_array_elements_text(d.params->'columns') x
        UNION ALL SELECT 'group_by', x FROM unnest(d.group_by) x
    LOOP
        type := weir_internal.check_column(d.target, c);
        IF (k = 'timestamp_column' OR k = 'column' AND d.kind IN ('freshness', 'volume'))
           AND type NOT IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN
            PERFORM weir_internal.check_refuse(d, k, format('must be a column of times, "%s" is %s', c, format_type(type, NULL)), code => '42804');
        END IF;
    END LOOP;
    IF d.kind = 'drift' AND d.params ? 'baseline' THEN
        PERFORM weir_internal.check_column(to_regclass(d.params->>'baseline'), d.params->>'column');
    ELSIF d.kind = 'relationships' THEN
        PERFORM weir_internal.check_column(to_regclass(d.params->>'to'), d.params->>'field');
    ELSIF d.params ? 'with' THEN
        PERFORM weir_internal.check_column(to_regclass(d.params->>'with'), a.attname::text) FROM pg_attribute a
        WHERE a.attrelid = d.target AND a.attnum > 0 AND NOT a.attisdropped
          AND (NOT d.params ? 'columns' OR d.params->'columns' ? a.attname::text);
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_has_columns(weir_internal.check_definition) IS 'raises 42703 for columns that do not exist, 42804 where a time is needed';

CREATE FUNCTION weir_internal.check_threshold(parameter text, threshold text, failed bigint, items bigint) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m text[] := regexp_match(threshold, '^\s*(<|<=|>|>=|=|==|!=|<>)\s*(\d+(?:\.\d+)?)\s*(%?)\s*$');
    observed numeric := CASE WHEN m[3] = '%' THEN coalesce(100.0 * failed / nullif(items, 0), 0) ELSE failed END;
BEGIN
    IF threshold IS NOT NULL AND (m IS NULL OR m[3] = '%' AND m[2]::numeric > 100) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('parameter "%s" is not a condition on failed rows: "%s"', parameter, threshold),
            HINT = 'Write ''> 10'', or ''>= 5%'' for a share of them.';
    END IF;
    RETURN CASE m[1] WHEN '<' THEN observed < m[2]::numeric WHEN '<=' THEN observed <= m[2]::numeric
        WHEN '>' THEN observed > m[2]::numeric WHEN '>=' THEN observed >= m[2]::numeric
        WHEN '=' THEN observed = m[2]::numeric WHEN '==' THEN observed = m[2]::numeric
        WHEN '!=' THEN observed <> m[2]::numeric WHEN '<>' THEN observed <> m[2]::numeric END;
END
$$;
COMMENT ON FUNCTION weir_internal.check_threshold(text, text, bigint, bigint) IS 'is a condition such as > 10 or >= 5% true of that many failed rows? NULL: there is none';

-- Values of params that take the column's type.
CREATE FUNCTION weir_internal.check_constants(d weir_internal.check_definition) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    type oid;
    as_type text;
    b text[];
BEGIN
    IF d.kind NOT IN ('accepted_values', 'accepted_range', 'aggregate') THEN
        RETURN;
    END IF;
    type := weir_internal.check_column(d.target, d.params->>'column');
    as_type := format_type(type, NULL);
    IF d.kind = 'accepted_values' THEN
        PERFORM weir_internal.check_convert(d, 'values', format('SELECT count(x::%s) FROM jsonb_array_elements_text($1->''values'') x', as_type),
            format('must be values of type %s', as_type));
        RETURN;
    ELSIF d.kind = 'aggregate' THEN
        b := weir_internal.check_bounds(d.kind, 'NULL', type, d.params);
        as_type := substring(b[2] FROM '::(.*)$');
    ELSE
        b := ARRAY['', format('($1->>''min'')::%s', as_type), format('($1->>''max'')::%s', as_type)];
    END IF;
    PERFORM weir_internal.check_convert(d, 'min', b[2], 'must be of type ' || as_type),
            weir_internal.check_convert(d, 'max', b[3], 'must be of type ' || as_type);
    IF weir_internal.check_convert(d, 'min', b[2] || ' > ' || b[3], 'must be comparable') = 'true' THEN
        PERFORM weir_internal.check_refuse(d, 'min', 'must not be more than max');
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.check_constants(weir_internal.check_definition) IS 'raises 22023 for a bound or value that is not of the column''s type';

-- SQL of the user's, and what becomes of it: parsed as who creates the check.
CREATE FUNCTION weir_internal.check_parse(d weir_internal.check_definition) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF d.filter IS NOT NULL AND d.kind <> 'custom_sql' THEN
        PERFORM weir_internal.parse_as(d.owner, d.search_path, format('SELECT FROM %s AS %I WHERE %s', weir_internal.check_relation(d.target),
            (SELECT c.relname FROM pg_class c WHERE c.oid = d.target), weir_internal.sql_expression('filter', d.filter)));
    END IF;
    PERFORM weir_internal.parse_as(d.owner, d.search_path,
        weir_internal.check_statement(d.owner, d.kind, d.target, d.params, d.filter, d.group_by, 1));
END
$$;
COMMENT ON FUNCTION weir_internal.check_parse(weir_internal.check_definition) IS 'raises the error of a filter, of a query, or of a column''s type';

-- Everything that is asked of a definition whose parameters are there; it, with names resolved.
CREATE FUNCTION weir_internal.check_approve(d weir_internal.check_definition) RETURNS weir_internal.check_definition
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    code text;
    said text;
    details text;
    hints text;
BEGIN
    PERFORM weir_internal.check_readable(d.owner, d.target);
    PERFORM weir_internal.check_threshold('warn_if', d.warn_if, 0, 0), weir_internal.check_threshold('error_if', d.error_if, 0, 0);
    PERFORM weir_internal.check_keys(d);
    PERFORM weir_internal.check_values(d);
    PERFORM weir_internal.check_together(d);
    d.params := weir_internal.check_names(d);
    PERFORM weir_internal.check_has_columns(d);
    PERFORM weir_internal.check_parse(d);
    PERFORM weir_internal.check_constants(d);
    RETURN d;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, said = MESSAGE_TEXT, details = PG_EXCEPTION_DETAIL, hints = PG_EXCEPTION_HINT;
    IF details = '' AND position(weir_internal.check_said(d) IN said) = 0 THEN
        details := format('This is of %s.', weir_internal.check_said(d));
    END IF;
    RAISE EXCEPTION USING ERRCODE = code, MESSAGE = said, DETAIL = details, HINT = hints;
END
$$;
COMMENT ON FUNCTION weir_internal.check_approve(weir_internal.check_definition) IS 'a definition with names that mean the same to everybody; an error of it says of which check it is';

-- Makes a definition of what is asked for; raises an error for what cannot be one.
CREATE FUNCTION weir_internal.check_define(
    caller oid, caller_path text, name text, target regclass, kind text, params jsonb, severity text, filter text,
    group_by text[], mostly float8, warn_if text, error_if text)
RETURNS weir_internal.check_definition
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d weir_internal.check_definition;
BEGIN
    IF target IS NULL OR kind IS NULL OR severity IS NULL THEN
        RAISE null_value_not_allowed USING
            MESSAGE = format('parameter "%s" must not be NULL', CASE WHEN target IS NULL THEN 'target' WHEN kind IS NULL THEN 'kind' ELSE 'severity' END);
    ELSIF (SELECT c.relkind FROM pg_class c WHERE c.oid = target) IN ('r', 'p', 'v', 'm', 'f') IS NOT TRUE THEN
        RAISE wrong_object_type USING MESSAGE = format('"%s" is not a table or view', target::text);
    ELSIF severity NOT IN ('error', 'warn') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('severity "%s" is not known', severity), HINT = 'It is error or warn.';
    ELSIF NOT mostly BETWEEN 0 AND 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('parameter "mostly" must be a share, from 0 to 1, not %s', mostly);
    END IF;
    d.name := name;
    d.owner := caller::regrole;
    d.target := target;
    d.kind := kind;
    d.params := coalesce(params, '{}');
    d.severity := severity;
    d.filter := filter;
    d.group_by := group_by;
    d.mostly := mostly;
    d.warn_if := warn_if;
    d.error_if := error_if;
    d.search_path := caller_path;
    RETURN weir_internal.check_approve(d);
END
$$;
COMMENT ON FUNCTION weir_internal.check_define(oid, text, text, regclass, text, jsonb, text, text, text[], float8, text, text) IS
'a check''s definition; raises an error where something does not exist, is missing, or is not of the right type';

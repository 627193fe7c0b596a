-- Checks, defined: what is asked of a definition, and its statement.

CREATE FUNCTION weir_internal.check_refuse(kind text, key text, problem text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE invalid_parameter_value USING MESSAGE = format('key "%s" of params for a check of kind "%s" %s', key, kind, problem);
END
$$;
COMMENT ON FUNCTION weir_internal.check_refuse(text, text, text) IS 'raises an error about a key of params';

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
CREATE FUNCTION weir_internal.check_names(role oid, path text, kind text, target oid, params jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k text;
    v text;
    id oid;
BEGIN
    FOR k, v IN SELECT e.key, e.value FROM jsonb_each_text(params) e
        WHERE e.key IN ('same_as', 'to', 'with', 'stream') OR e.key = 'baseline' AND kind = 'drift'
    LOOP
        id := (weir_internal.check_resolve(role, path, 'SELECT to_jsonb(to_regclass($1->>''name'')::oid::bigint)', jsonb_build_object('name', v)))::bigint::oid;
        IF id IS NULL THEN
            RAISE undefined_table USING MESSAGE = format('relation "%s" does not exist', v);
        END IF;
        PERFORM weir_internal.check_readable(role, id);
        params := jsonb_set(params, ARRAY[k], to_jsonb(weir_internal.check_relation(id)));
    END LOOP;
    IF kind = 'schema_changes' AND NOT params ? 'baseline' THEN
        params := params || jsonb_build_object('baseline', (SELECT jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod))
            FROM pg_attribute a WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped));
    ELSIF kind IN ('schema', 'schema_changes') AND params ?| '{types,baseline}' THEN
        k := CASE kind WHEN 'schema' THEN 'types' ELSE 'baseline' END;
        FOR v, id IN SELECT e.key, e.value::bigint::oid FROM jsonb_each_text(weir_internal.check_resolve(role, path,
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
COMMENT ON FUNCTION weir_internal.check_names(oid, text, text, oid, jsonb) IS 'params with names of relations and types that mean the same under every search_path';

-- What types the values of keys have.
CREATE FUNCTION weir_internal.check_values(role oid, path text, kind text, params jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k text;
    v jsonb;
    t text;
    allowed text[];
BEGIN
    FOR k, v IN SELECT * FROM jsonb_each(params) LOOP
        t := CASE WHEN k IN ('columns', 'values', 'required', 'forbidden') THEN 'array'
            WHEN k = 'types' OR k = 'baseline' AND kind = 'schema_changes' THEN 'object'
            WHEN k IN ('inclusive', 'ordered', 'audit') THEN 'boolean'
            WHEN k IN ('drop', 'spike', 'sensitivity', 'min_training_set', 'threshold', 'bins', 'min_rows')
              OR k IN ('min', 'max') AND kind IN ('row_count', 'cardinality') THEN 'number'
            WHEN k IN ('min', 'max') THEN 'any' ELSE 'string' END;
        IF t <> 'any' AND jsonb_typeof(v) <> t THEN
            PERFORM weir_internal.check_refuse(kind, k, format('must be %s %s, not %s', CASE WHEN t ~ '^[ao]' THEN 'an' ELSE 'a' END, t, jsonb_typeof(v)));
        ELSIF t = 'any' AND jsonb_typeof(v) NOT IN ('number', 'string') THEN
            PERFORM weir_internal.check_refuse(kind, k, 'must be a number or a string');
        ELSIF t = 'array' AND jsonb_array_length(v) = 0 THEN
            PERFORM weir_internal.check_refuse(kind, k, 'must not be empty');
        ELSIF k IN ('columns', 'required', 'forbidden') AND EXISTS (SELECT FROM jsonb_array_elements(v) e WHERE jsonb_typeof(e) <> 'string') THEN
            PERFORM weir_internal.check_refuse(kind, k, 'must be an array of strings');
        ELSIF t = 'object' AND (v = '{}' OR EXISTS (SELECT FROM jsonb_each(v) e WHERE jsonb_typeof(e.value) <> 'string')) THEN
            PERFORM weir_internal.check_refuse(kind, k, 'must be an object of column names and types');
        ELSIF t = 'number' AND k NOT IN ('min', 'max') AND v::numeric <= 0 OR k = 'bins' AND v::numeric NOT BETWEEN 2 AND 1000
           OR k IN ('bins', 'min_training_set', 'min_rows') AND v::numeric <> floor(v::numeric) THEN
            PERFORM weir_internal.check_refuse(kind, k, format('must not be %s', v));
        ELSIF k IN ('warn_after', 'error_after', 'bucket', 'window', 'training_period', 'period') THEN
            IF (v #>> '{}')::interval <= '0' OR k = 'bucket' AND extract(year FROM (v #>> '{}')::interval) + extract(month FROM (v #>> '{}')::interval) > 0 THEN
                PERFORM weir_internal.check_refuse(kind, k, 'must be a positive interval' || CASE k WHEN 'bucket' THEN ' without months' ELSE '' END);
            END IF;
        ELSIF k = 'as_of' THEN
            PERFORM (v #>> '{}')::timestamptz;
        ELSIF k = 'pattern' THEN
            PERFORM '' ~ (v #>> '{}');
        END IF;
        allowed := CASE k WHEN 'direction' THEN '{both,drop,spike}' WHEN 'method' THEN '{psi,ks}' WHEN 'against' THEN '{trailing,same_hour}'
            WHEN 'seasonality' THEN '{day_of_week,hour_of_day,hour_of_week}' WHEN 'metric' THEN '{row_count,sum,avg,min,max,null_rate,cardinality}' END;
        IF (v #>> '{}') <> ALL (allowed) THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('key "%s" of params for a check of kind "%s" must not be "%s"', k, kind, v #>> '{}'),
                HINT = 'One of ' || array_to_string(allowed, ', ') || '.';
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION weir_internal.check_values(oid, text, text, jsonb) IS 'raises 22023 where a value of params is of the wrong type or out of range';

-- Kinds and keys that there are not.
CREATE FUNCTION weir_internal.check_keys(kind text, target oid, params jsonb, group_by text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k record;
    unknown text;
    c text;
BEGIN
    SELECT * INTO k FROM weir_internal.check_kinds() x WHERE x.kind = check_keys.kind;
    IF NOT FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('check kind "%s" does not exist', kind),
            HINT = 'One of ' || (SELECT string_agg(x.kind, ', ') FROM weir_internal.check_kinds() x) || '.';
    ELSIF jsonb_typeof(params) <> 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'parameter "params" must be a JSON object';
    END IF;
    SELECT o INTO unknown FROM jsonb_object_keys(params) o WHERE o <> ALL (k.keys) LIMIT 1;
    IF unknown IS NOT NULL THEN
        RAISE undefined_object USING
            MESSAGE = format('key "%s" of params does not exist for a check of kind "%s"', unknown, kind),
            HINT = 'Its keys are ' || array_to_string(k.keys, ', ') || '.';
    ELSIF NOT params ?& k.required OR cardinality(k.one_of) > 0 AND NOT params ?| k.one_of THEN
        RAISE null_value_not_allowed USING
            MESSAGE = format('params for a check of kind "%s" are not complete', kind),
            HINT = CASE WHEN NOT params ?& k.required THEN 'It needs ' || array_to_string(k.required, ', ') || '.'
                        ELSE 'It needs one of ' || array_to_string(k.one_of, ', ') || '.' END;
    ELSIF group_by IS NOT NULL AND (NOT k.grouped OR cardinality(group_by) NOT BETWEEN 1 AND 40) THEN
        RAISE feature_not_supported USING MESSAGE = format('a check of kind "%s" has no groups', kind);
    END IF;
    FOR c IN SELECT params->>x FROM unnest('{column,timestamp_column}'::text[]) x WHERE params ? x
        UNION ALL SELECT x FROM jsonb_array_elements_text(CASE WHEN jsonb_typeof(params->'columns') = 'array' THEN params->'columns' ELSE '[]' END) x
        UNION ALL SELECT x FROM unnest(group_by) x
    LOOP
        PERFORM weir_internal.check_column(target, c);
    END LOOP;
END
$$;
COMMENT ON FUNCTION weir_internal.check_keys(text, oid, jsonb, text[]) IS
'raises 42704 for kinds and keys that do not exist, 42703 for columns, 22004 for keys that are missing';

CREATE FUNCTION weir_internal.check_aggregate_call(fn text, col text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF fn IN ('avg', 'sum', 'min', 'max', 'count', 'stddev', 'stddev_pop', 'stddev_samp', 'variance', 'var_pop', 'var_samp') THEN
        RETURN format('%s(%s)', fn, col);
    ELSIF fn = 'median' OR fn ~ '^p\d{1,2}(\.\d+)?$' THEN
        RETURN format('percentile_cont(%s) WITHIN GROUP (ORDER BY %s)', CASE fn WHEN 'median' THEN 0.5 ELSE substr(fn, 2)::numeric / 100 END, col);
    END IF;
    RAISE undefined_object USING
        MESSAGE = format('aggregate "%s" does not exist for checks', fn),
        HINT = 'One of avg, sum, min, max, count, stddev, stddev_pop, stddev_samp, variance, var_pop, var_samp, median, p99 and the like.';
END
$$;
COMMENT ON FUNCTION weir_internal.check_aggregate_call(text, text) IS 'the call of an aggregate function for kind aggregate; pN is the Nth percentile';

-- A column as what drift compares.
CREATE FUNCTION weir_internal.check_drift_column(col text, type oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE t.typcategory WHEN 'N' THEN format('(%s)::float8', col)
        WHEN 'D' THEN format('extract(epoch FROM %s)::float8', col) WHEN 'T' THEN format('extract(epoch FROM %s)::float8', col)
        ELSE format('(%s)::text', col) END
    FROM pg_type t WHERE t.oid = type
$$;
COMMENT ON FUNCTION weir_internal.check_drift_column(text, oid) IS 'a column as a number, or as text';

CREATE FUNCTION weir_internal.check_drift_statement(target oid, rel text, alias text, cond text, params jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    type oid := weir_internal.check_column(target, params->>'column');
    x text := weir_internal.check_drift_column(format('%s.%I', alias, params->>'column'), type);
    method text := coalesce(params->>'method', 'psi');
    is_number boolean := x LIKE '%::float8';
    one text := format('SELECT %s AS x FROM %%s AS %s WHERE %s AND %s.%I IS NOT NULL', x, alias, cond, alias, params->>'column');
    at text := CASE WHEN params ? 'timestamp_column' THEN format('(%s.%I)::timestamptz', alias, params->>'timestamp_column') END;
    since text := $q$(coalesce(($1->>'as_of')::timestamptz, clock_timestamp()) - coalesce($1->>'period', '1 day')::interval)$q$;
BEGIN
    IF method = 'ks' AND NOT is_number THEN
        RAISE datatype_mismatch USING
            MESSAGE = format('method ks needs a column of numbers or times, "%s" is %s', params->>'column', format_type(type, NULL)),
            HINT = 'Method psi compares categories, too.';
    END IF;
    IF params ? 'baseline' AND params ? 'timestamp_column' THEN
        PERFORM weir_internal.check_refuse('drift', 'timestamp_column', 'goes without baseline');
    ELSIF params ? 'baseline' THEN
        RETURN weir_internal.check_drift(format(one, rel), format(one, params->>'baseline'), is_number, method);
    END IF;
    RETURN weir_internal.check_drift(format(one, rel) || format(' AND %s >= %s', at, since), format(one, rel) || format(' AND %s < %s', at, since),
        is_number, method);
END
$$;
COMMENT ON FUNCTION weir_internal.check_drift_statement(oid, text, text, text, jsonb) IS 'the statement of kind drift';

CREATE FUNCTION weir_internal.check_reconcile_statement(target oid, rel text, alias text, cond text, params jsonb, sample_rows int) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one text := format('%%s AS %s WHERE %s', alias, cond);
    wanted oid;
    columns text[];
BEGIN
    IF (SELECT count(*) FROM jsonb_object_keys(params) k WHERE k IN ('with', 'stream', 'audit')) <> 1 THEN
        PERFORM weir_internal.check_refuse('reconcile', 'with', 'goes without stream and audit, and these without each other');
    ELSIF params ? 'with' THEN
        SELECT array_agg(a.attname::text ORDER BY a.attnum) INTO columns FROM pg_attribute a
        WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped
          AND (NOT params ? 'columns' OR params->'columns' ? a.attname::text);
        RETURN weir_internal.check_reconcile(format(one, rel), format(one, params->>'with'), columns, sample_rows);
    ELSIF params ? 'columns' THEN
        PERFORM weir_internal.check_refuse('reconcile', 'columns', 'goes with with');
    END IF;
    wanted := CASE WHEN params ? 'stream' THEN to_regclass(params->>'stream')::oid ELSE target END;
    IF NOT EXISTS (SELECT FROM weir_internal.stream s WHERE s.stream::oid = wanted) THEN
        RAISE wrong_object_type USING MESSAGE = format('"%s" is not a stream', coalesce(params->>'stream', rel));
    ELSIF params ? 'stream' THEN
        RETURN weir_internal.check_reconcile_stream(format(one, rel), wanted, EXISTS (SELECT FROM pg_attribute a
            WHERE a.attrelid = target AND a.attname = '_partition' AND NOT a.attisdropped));
    END IF;
    RETURN weir_internal.check_audit(target);
END
$$;
COMMENT ON FUNCTION weir_internal.check_reconcile_statement(oid, text, text, text, jsonb, int) IS 'the statement of kind reconcile';

-- Kinds that judge rows: which ones fail.
CREATE FUNCTION weir_internal.check_bad_row(kind text, col text, type oid, params jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE kind
        WHEN 'not_null' THEN format('%s IS NULL', col)
        WHEN 'completeness' THEN format(CASE t.typcategory WHEN 'S' THEN '(%1$s IS NULL OR btrim(%1$s::text) = '''')' ELSE '%s IS NULL' END, col)
        WHEN 'accepted_values' THEN format('(%s <> ALL (ARRAY(SELECT x::%s FROM jsonb_array_elements_text($1->''values'') x WHERE x IS NOT NULL)))',
            col, format_type(type, NULL))
        WHEN 'accepted_range' THEN format('coalesce(%1$s %2$s ($1->>''min'')::%4$s, false) IS TRUE OR coalesce(%1$s %3$s ($1->>''max'')::%4$s, false) IS TRUE',
            col, CASE WHEN params->>'inclusive' = 'false' THEN '<=' ELSE '<' END,
            CASE WHEN params->>'inclusive' = 'false' THEN '>=' ELSE '>' END, format_type(type, NULL))
        WHEN 'regex' THEN format('%s::text !~ ($1->>''pattern'')', col)
        WHEN 'relationships' THEN format('%s IS NOT NULL AND NOT EXISTS (SELECT FROM %s AS weir_to WHERE weir_to.%I = %1$s)', col, params->>'to', params->>'field')
        END
    FROM pg_type t WHERE t.oid = type
$$;
COMMENT ON FUNCTION weir_internal.check_bad_row(text, text, oid, jsonb) IS 'the condition for rows that fail a check; NULL for kinds that judge no rows';

-- Kinds that judge one value: value, low, high.
CREATE FUNCTION weir_internal.check_bounds(kind text, col text, type oid, params jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    value text;
    as_type text := 'numeric';
BEGIN
    IF kind = 'row_count' AND params ? 'same_as' THEN
        IF params ?| '{min,max}' THEN
            PERFORM weir_internal.check_refuse(kind, 'same_as', 'goes without min and max');
        END IF;
        value := format('(SELECT count(*) FROM %s)', params->>'same_as');
        RETURN ARRAY['count(*)', value, value];
    ELSIF kind = 'row_count' THEN
        value := 'count(*)';
    ELSIF kind = 'cardinality' THEN
        value := format('count(DISTINCT %s)', col);
    ELSE
        value := weir_internal.check_aggregate_call(params->>'function', col);
        IF params->>'function' IN ('min', 'max') THEN
            as_type := format_type(type, NULL);
        ELSIF params->>'function' <> 'count' AND (SELECT t.typcategory = 'T' FROM pg_type t WHERE t.oid = type) THEN
            as_type := 'interval';
        END IF;
        value := format('(%s)::%s', value, as_type);
    END IF;
    RETURN ARRAY[value, format('($1->>''min'')::%s', as_type), format('($1->>''max'')::%s', as_type)];
END
$$;
COMMENT ON FUNCTION weir_internal.check_bounds(text, text, oid, jsonb) IS 'the value that is judged, and its bounds';

-- A row of the target, of the columns that the role may read.
CREATE FUNCTION weir_internal.check_row(role oid, target oid, alias text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('(SELECT to_jsonb(weir_s) FROM (SELECT %s) weir_s)', string_agg(format('%s.%I', alias, a.attname), ', ' ORDER BY a.attnum))
    FROM pg_attribute a
    WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(role, target, a.attnum, 'SELECT')
$$;
COMMENT ON FUNCTION weir_internal.check_row(oid, oid, text) IS 'a row of a table as jsonb, as far as a role may read it';

CREATE FUNCTION weir_internal.check_statement(role oid, kind text, target oid, params jsonb, filter text, group_by text[], sample_rows int) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rel text := weir_internal.check_relation(target);
    alias text := (SELECT quote_ident(c.relname) FROM pg_class c WHERE c.oid = target);
    cond text := coalesce('(' || weir_internal.sql_expression('filter', filter) || ')', 'true');
    src text := format('%s AS %s WHERE %s', rel, alias, cond);
    key text := coalesce((SELECT 'jsonb_build_object(' || string_agg(format('%L, %s.%I', g, alias, g), ', ') || ')' FROM unnest(group_by) g), 'NULL::jsonb');
    grouped boolean := group_by IS NOT NULL;
    col text := CASE WHEN params ? 'column' THEN format('%s.%I', alias, params->>'column') END;
    type oid := CASE WHEN params ? 'column' THEN weir_internal.check_column(target, params->>'column') END;
    bad text := weir_internal.check_bad_row(kind, col, type, params);
    b text[];
BEGIN
    IF bad IS NOT NULL THEN
        RETURN weir_internal.check_rows(src, key, grouped, format('(%s)', bad), weir_internal.check_row(role, target, alias), sample_rows);
    ELSIF kind IN ('row_count', 'cardinality', 'aggregate') THEN
        b := weir_internal.check_bounds(kind, col, type, params);
        RETURN weir_internal.check_value(src, key, grouped, b[1], b[2], b[3], 'there are no values');
    ELSIF kind = 'sequence_gaps' AND type <> ALL ('{int2,int4,int8,numeric}'::regtype[]::oid[]) THEN
        RAISE datatype_mismatch USING
            MESSAGE = format('kind sequence_gaps needs a column of whole numbers, "%s" is %s', params->>'column', format_type(type, NULL));
    ELSIF kind = 'anomaly' AND (coalesce(params->>'metric', 'row_count') <> 'row_count') <> (params ? 'column') THEN
        PERFORM weir_internal.check_refuse(kind, 'column', 'goes with every metric but row_count');
    END IF;
    RETURN CASE kind
        WHEN 'unique' THEN weir_internal.check_unique(src, key, grouped, alias, ARRAY(SELECT jsonb_array_elements_text(params->'columns')), sample_rows)
        WHEN 'sequence_gaps' THEN weir_internal.check_sequence(src, key, grouped, col, params->>'column', sample_rows)
        WHEN 'freshness' THEN weir_internal.check_freshness(src, key, grouped, col)
        WHEN 'schema' THEN weir_internal.check_columns(target, kind, params)
        WHEN 'schema_changes' THEN weir_internal.check_columns(target, kind, params)
        WHEN 'reconcile' THEN weir_internal.check_reconcile_statement(target, rel, alias, cond, params, sample_rows)
        WHEN 'volume' THEN weir_internal.check_volume(src, key, col)
        WHEN 'anomaly' THEN weir_internal.check_anomaly(src, key, format('%s.%I', alias, params->>'timestamp_column'), coalesce(params->>'metric', 'row_count'), col)
        WHEN 'drift' THEN weir_internal.check_drift_statement(target, rel, alias, cond, params)
        WHEN 'custom_sql' THEN format($q$
            WITH q AS MATERIALIZED (%s
            ), n AS (SELECT count(*) AS n FROM q WHERE %s)
            SELECT NULL::jsonb AS weir_key, n.n AS failed, greatest(n.n, 1) AS items, n.n AS total, n.n || ' rows' AS observed, 'no rows' AS expected,
                   (SELECT jsonb_agg(to_jsonb(s)) FROM (SELECT * FROM q WHERE %s LIMIT %s) s) AS sample, NULL::text AS level, NULL::text AS skipped
            FROM n $q$, weir_internal.sql_select('sql', params->>'sql'), cond, cond, sample_rows)
        END;
END
$$;
COMMENT ON FUNCTION weir_internal.check_statement(oid, text, oid, jsonb, text, text[], int) IS 'the statement that a check is, as a role would run it';

CREATE FUNCTION weir_internal.check_threshold(parameter text, threshold text, failed bigint, items bigint) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m text[] := regexp_match(threshold, '^\s*(<|<=|>|>=|=|==|!=|<>)\s*(\d+(?:\.\d+)?)\s*(%?)\s*$');
    observed numeric := CASE WHEN m[3] = '%' THEN coalesce(100.0 * failed / nullif(items, 0), 0) ELSE failed END;
BEGIN
    IF m IS NULL AND threshold IS NOT NULL THEN
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

-- Values of params that take the column's type are tried now, not when it is run.
CREATE FUNCTION weir_internal.check_constants(d weir_internal.check_definition) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    type oid;
    b text[];
BEGIN
    IF d.kind NOT IN ('accepted_values', 'accepted_range', 'aggregate') THEN
        RETURN;
    END IF;
    type := weir_internal.check_column(d.target, d.params->>'column');
    b := CASE d.kind
        WHEN 'aggregate' THEN weir_internal.check_bounds(d.kind, 'NULL', type, d.params)
        WHEN 'accepted_range' THEN ARRAY['', format('($1->>''min'')::%s', format_type(type, NULL)), format('($1->>''max'')::%s', format_type(type, NULL))]
        ELSE ARRAY['', format('ARRAY(SELECT x::%s FROM jsonb_array_elements_text($1->''values'') x)', format_type(type, NULL)), 'NULL'] END;
    PERFORM weir_internal.check_resolve(d.owner, d.search_path,
        format('SELECT to_jsonb(num_nulls(v.low, v.high)) FROM (SELECT %s AS low, %s AS high OFFSET 0) v', b[2], b[3]), d.params);
END
$$;
COMMENT ON FUNCTION weir_internal.check_constants(weir_internal.check_definition) IS 'raises the error of a bound or value that is not of the column''s type';

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
        RAISE invalid_parameter_value USING MESSAGE = format('severity "%s" is not known', severity), HINT = 'error or warn.';
    ELSIF NOT mostly BETWEEN 0 AND 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'parameter "mostly" must be a share, from 0 to 1';
    END IF;
    PERFORM weir_internal.check_readable(caller, target);
    PERFORM weir_internal.check_threshold('warn_if', warn_if, 0, 0), weir_internal.check_threshold('error_if', error_if, 0, 0);
    params := coalesce(params, '{}');
    PERFORM weir_internal.check_keys(kind, target, params, group_by);
    PERFORM weir_internal.check_values(caller, caller_path, kind, params);
    params := weir_internal.check_names(caller, caller_path, kind, target, params);
    IF kind = 'relationships' THEN
        PERFORM weir_internal.check_column(to_regclass(params->>'to'), params->>'field');
    END IF;
    IF kind IN ('schema', 'schema_changes') AND filter IS NOT NULL OR kind = 'reconcile' AND params ? 'audit' AND filter IS NOT NULL THEN
        RAISE feature_not_supported USING MESSAGE = format('a check of kind "%s" reads no rows: it takes no filter', kind);
    END IF;
    d.name := name;
    d.owner := caller::regrole;
    d.target := target;
    d.kind := kind;
    d.params := params;
    d.severity := severity;
    d.filter := filter;
    d.group_by := group_by;
    d.mostly := mostly;
    d.warn_if := warn_if;
    d.error_if := error_if;
    d.search_path := caller_path;
    PERFORM weir_internal.parse_as(caller, caller_path, weir_internal.check_statement(caller, kind, target, params, filter, group_by, 1));
    PERFORM weir_internal.check_constants(d);
    RETURN d;
END
$$;
COMMENT ON FUNCTION weir_internal.check_define(oid, text, text, regclass, text, jsonb, text, text, text[], float8, text, text) IS
'a check''s definition; raises an error where something does not exist, is missing, or is not of the right type';

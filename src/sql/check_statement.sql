-- The statement that a check is, of its kind (check_kind.sql) and its definition.

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
    IF params ? 'baseline' THEN
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
    IF params ? 'with' THEN
        SELECT array_agg(a.attname::text ORDER BY a.attnum) INTO columns FROM pg_attribute a
        WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped
          AND (NOT params ? 'columns' OR params->'columns' ? a.attname::text);
        RETURN weir_internal.check_reconcile(format(one, rel), format(one, params->>'with'), columns, sample_rows);
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

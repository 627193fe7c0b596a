-- The kinds of checks: what each is told, and the one statement that it is.
--
-- A statement gives a row per group: weir_key (NULL without groups), failed of
-- items, total rows, observed, expected, sample, level ('warn': no more than a
-- warning), skipped (why it cannot be judged).  params are its $1.

CREATE FUNCTION weir_internal.check_kinds(OUT kind text, OUT keys text[], OUT required text[], OUT one_of text[], OUT grouped boolean)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.kind, k.keys::text[], k.required::text[], k.one_of::text[], k.grouped
    FROM (VALUES
        ('row_count', '{min,max,same_as}', '{}', '{min,max,same_as}', true),
        ('freshness', '{column,warn_after,error_after}', '{column}', '{warn_after,error_after}', true),
        ('unique', '{columns}', '{columns}', '{}', true),
        ('not_null', '{column}', '{column}', '{}', true),
        ('completeness', '{column}', '{column}', '{}', true),
        ('accepted_values', '{column,values}', '{column,values}', '{}', true),
        ('accepted_range', '{column,min,max,inclusive}', '{column}', '{min,max}', true),
        ('regex', '{column,pattern}', '{column,pattern}', '{}', true),
        ('relationships', '{column,to,field}', '{column,to,field}', '{}', true),
        ('schema', '{required,forbidden,types,ordered}', '{}', '{required,forbidden,types}', false),
        ('schema_changes', '{baseline}', '{}', '{}', false),
        ('aggregate', '{function,column,min,max}', '{function,column}', '{min,max}', true),
        ('cardinality', '{column,min,max}', '{column}', '{min,max}', true),
        ('sequence_gaps', '{column}', '{column}', '{}', true),
        ('reconcile', '{with,columns,stream,audit}', '{}', '{with,stream,audit}', false),
        ('volume', '{column,bucket,drop,spike,against,window,as_of}', '{column}', '{drop,spike}', true),
        ('anomaly', '{timestamp_column,metric,column,bucket,sensitivity,direction,training_period,min_training_set,seasonality,as_of}',
            '{timestamp_column}', '{}', true),
        ('drift', '{column,baseline,method,threshold,bins,min_rows,timestamp_column,period,as_of}', '{column}',
            '{baseline,timestamp_column}', false),
        ('custom_sql', '{sql}', '{sql}', '{}', false)
    ) k (kind, keys, required, one_of, grouped)
$$;
COMMENT ON FUNCTION weir_internal.check_kinds() IS
'the kinds of checks: keys of params, those that are required, those of which one is, and whether there may be groups';

-- Rows that fail, counted and sampled.  sample: how rows are shown.
CREATE FUNCTION weir_internal.check_rows(src text, key text, grouped boolean, bad text, sample text, sample_rows int) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH c AS (SELECT %1$s AS weir_key, count(*) AS total, count(*) FILTER (WHERE %2$s) AS failed FROM %3$s %4$s),
             b AS (%5$s)
        SELECT c.weir_key, c.failed, c.total AS items, c.total,
               round(100.0 * (c.total - c.failed) / nullif(c.total, 0), 2) || ' %%' AS observed, NULL::text AS expected,
               (SELECT jsonb_agg(b.weir_row) FROM b WHERE b.weir_key IS NOT DISTINCT FROM c.weir_key) AS sample,
               NULL::text AS level, NULL::text AS skipped
        FROM c $q$,
        key, bad, src, CASE WHEN grouped THEN 'GROUP BY 1' END,
        CASE WHEN grouped THEN format('SELECT weir_key, weir_row FROM (SELECT %1$s AS weir_key, %2$s AS weir_row,'
                'row_number() OVER (PARTITION BY %1$s) AS weir_n FROM %3$s AND %4$s) x WHERE weir_n <= %5$s', key, sample, src, bad, sample_rows)
             ELSE format('SELECT NULL::jsonb AS weir_key, %s AS weir_row FROM %s AND %s LIMIT %s', sample, src, bad, sample_rows) END)
$$;
COMMENT ON FUNCTION weir_internal.check_rows(text, text, boolean, text, text, int) IS 'the statement of checks that judge rows';

-- One value, compared with bounds.
CREATE FUNCTION weir_internal.check_value(src text, key text, grouped boolean, value text, low text, high text, absent text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        SELECT v.weir_key, CASE WHEN v.value < v.low OR v.value > v.high THEN 1 ELSE 0 END::bigint AS failed, 1::bigint AS items, v.total,
               v.value::text AS observed,
               CASE WHEN v.low = v.high THEN v.low::text
                    ELSE concat_ws(' and ', 'at least ' || v.low::text, 'at most ' || v.high::text) END AS expected,
               NULL::jsonb AS sample, NULL::text AS level, CASE WHEN v.value IS NULL THEN %7$L END AS skipped
        FROM (SELECT %1$s AS weir_key, count(*) AS total, %2$s AS value, %3$s AS low, %4$s AS high FROM %5$s %6$s) v $q$,
        key, value, low, high, src, CASE WHEN grouped THEN 'GROUP BY 1' END, absent)
$$;
COMMENT ON FUNCTION weir_internal.check_value(text, text, boolean, text, text, text, text) IS 'the statement of checks that judge one value';

CREATE FUNCTION weir_internal.check_unique(src text, key text, grouped boolean, alias text, columns text[], sample_rows int) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH g AS (SELECT %1$s AS weir_key, %2$s, count(*) AS weir_n, (%3$s) AS weir_whole FROM %4$s GROUP BY 1, %2$s),
             c AS (SELECT weir_key, coalesce(sum(weir_n), 0)::bigint AS total,
                          coalesce(sum(weir_n) FILTER (WHERE weir_n > 1 AND weir_whole), 0)::bigint AS failed FROM %5$s)
        SELECT c.weir_key, c.failed, c.total AS items, c.total,
               round(100.0 * (c.total - c.failed) / nullif(c.total, 0), 2) || ' %%' AS observed, NULL::text AS expected,
               (SELECT jsonb_agg(x.weir_row) FROM (SELECT (SELECT to_jsonb(weir_s) FROM (SELECT %6$s) weir_s) AS weir_row
                FROM g WHERE g.weir_n > 1 AND g.weir_whole AND g.weir_key IS NOT DISTINCT FROM c.weir_key LIMIT %7$s) x) AS sample,
               NULL::text AS level, NULL::text AS skipped
        FROM c $q$,
        key, (SELECT string_agg(format('%s.%I', alias, c), ', ') FROM unnest(columns) c),
        (SELECT string_agg(format('%s.%I IS NOT NULL', alias, c), ' AND ') FROM unnest(columns) c),
        src,
        CASE WHEN grouped THEN 'g GROUP BY 1' ELSE '(SELECT 1) one LEFT JOIN g ON true GROUP BY 1' END,
        (SELECT string_agg(format('g.%I', c), ', ') FROM unnest(columns) c), sample_rows)
$$;
COMMENT ON FUNCTION weir_internal.check_unique(text, text, boolean, text, text[], int) IS 'the statement of kind unique';

CREATE FUNCTION weir_internal.check_sequence(src text, key text, grouped boolean, col text, name text, sample_rows int) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH d AS (SELECT %1$s AS weir_key, %2$s::numeric AS v, count(*) AS n FROM %3$s AND %2$s IS NOT NULL GROUP BY 1, 2),
             w AS (SELECT weir_key, v, n, lead(v) OVER (PARTITION BY weir_key ORDER BY v) AS next FROM d),
             c AS (SELECT weir_key, least(coalesce(sum(next - v - 1), 0), 9223372036854775807)::bigint AS failed,
                          least(max(v) - min(v) + 1, 9223372036854775807)::bigint AS items, coalesce(sum(n), 0)::bigint AS total FROM %4$s)
        SELECT c.weir_key, c.failed, coalesce(c.items, 0) AS items, c.total, c.failed || ' missing' AS observed, 'none missing' AS expected,
               (SELECT jsonb_agg(x.weir_row) FROM (SELECT jsonb_build_object(%5$L, w.v + 1, 'missing', w.next - w.v - 1) AS weir_row
                FROM w WHERE w.next > w.v + 1 AND w.weir_key IS NOT DISTINCT FROM c.weir_key ORDER BY w.v LIMIT %6$s) x) AS sample,
               NULL::text AS level, NULL::text AS skipped
        FROM c $q$,
        key, col, src, CASE WHEN grouped THEN 'w GROUP BY 1' ELSE '(SELECT 1) one LEFT JOIN w ON true GROUP BY 1' END, name, sample_rows)
$$;
COMMENT ON FUNCTION weir_internal.check_sequence(text, text, boolean, text, text, int) IS 'the statement of kind sequence_gaps';

CREATE FUNCTION weir_internal.check_freshness(src text, key text, grouped boolean, col text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        SELECT v.weir_key, CASE WHEN v.age IS NULL OR v.age > v.error_after OR v.age > v.warn_after THEN 1 ELSE 0 END::bigint AS failed,
               1::bigint AS items, v.total, coalesce(date_trunc('second', v.age)::text, 'no rows') AS observed,
               'at most ' || coalesce(v.warn_after, v.error_after)::text AS expected, NULL::jsonb AS sample,
               CASE WHEN v.age > v.warn_after AND NOT coalesce(v.age > v.error_after, false) THEN 'warn' END AS level, NULL::text AS skipped
        FROM (SELECT %1$s AS weir_key, count(*) AS total, clock_timestamp() - max(%2$s)::timestamptz AS age,
                     ($1->>'warn_after')::interval AS warn_after, ($1->>'error_after')::interval AS error_after
              FROM %3$s %4$s) v $q$,
        key, col, src, CASE WHEN grouped THEN 'GROUP BY 1' END)
$$;
COMMENT ON FUNCTION weir_internal.check_freshness(text, text, boolean, text) IS 'the statement of kind freshness';

-- Problems of columns, one by one.
CREATE FUNCTION weir_internal.check_columns(target oid, kind text, params jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH cur AS (SELECT a.attname::text AS name, a.atttypid AS type, format_type(a.atttypid, a.atttypmod) AS shown, a.attnum
                     FROM pg_attribute a WHERE a.attrelid = %1$s AND a.attnum > 0 AND NOT a.attisdropped),
             p AS (%2$s)
        SELECT NULL::jsonb AS weir_key, count(p.name) AS failed, greatest(%3$s, count(p.name))::bigint AS items, (SELECT count(*) FROM cur) AS total,
               coalesce(string_agg(format('%%s: %%s', p.name, p.problem), '; ' ORDER BY p.name, p.problem), 'as expected') AS observed,
               %4$L AS expected,
               jsonb_agg(jsonb_build_object('column', p.name, 'problem', p.problem) ORDER BY p.name, p.problem) FILTER (WHERE p.name IS NOT NULL) AS sample,
               NULL::text AS level, NULL::text AS skipped
        FROM p $q$, target,
        CASE kind WHEN 'schema' THEN $q$
            SELECT r AS name, 'is missing' AS problem FROM jsonb_array_elements_text($1->'required') r WHERE r NOT IN (SELECT name FROM cur)
            UNION ALL
            SELECT f, 'is forbidden' FROM jsonb_array_elements_text($1->'forbidden') f WHERE f IN (SELECT name FROM cur)
            UNION ALL
            SELECT t.key, CASE WHEN cur.name IS NULL THEN 'is missing' ELSE format('is %s, not %s', cur.shown, t.value) END
            FROM jsonb_each_text($1->'types') t LEFT JOIN cur ON cur.name = t.key
            WHERE CASE WHEN t.value LIKE '%(%' THEN cur.shown IS DISTINCT FROM t.value ELSE cur.type IS DISTINCT FROM to_regtype(t.value)::oid END
              AND (cur.name IS NOT NULL OR NOT coalesce($1->'required' ? t.key, false))
            UNION ALL
            SELECT o.name, 'is out of order' FROM (
                SELECT cur.name, cur.attnum < max(cur.attnum) OVER (ORDER BY r.i ROWS UNBOUNDED PRECEDING) AS late
                FROM jsonb_array_elements_text($1->'required') WITH ORDINALITY r (name, i) JOIN cur ON cur.name = r.name) o
            WHERE o.late AND ($1->>'ordered')::boolean $q$
        ELSE $q$
            SELECT coalesce(cur.name, b.key) AS name,
                   CASE WHEN cur.name IS NULL THEN 'is gone' WHEN b.key IS NULL THEN 'is new'
                        ELSE format('was %s, is %s', b.value, cur.shown) END AS problem
            FROM cur FULL JOIN jsonb_each_text($1->'baseline') b ON b.key = cur.name
            WHERE cur.shown IS DISTINCT FROM b.value $q$ END,
        CASE kind WHEN 'schema' THEN coalesce(jsonb_array_length(params->'required'), 0) + coalesce(jsonb_array_length(params->'forbidden'), 0)
                 + (SELECT count(*) FROM jsonb_object_keys(coalesce(params->'types', '{}')))
             ELSE (SELECT count(*) FROM jsonb_object_keys(params->'baseline')) END,
        CASE kind WHEN 'schema' THEN 'the columns asked for' ELSE 'the columns of the baseline' END)
$$;
COMMENT ON FUNCTION weir_internal.check_columns(oid, text, jsonb) IS 'the statement of kinds schema and schema_changes';

-- rel: the target as it stands, other: what it is compared with, by the same name.
CREATE FUNCTION weir_internal.check_reconcile(src text, other text, columns text[], sample_rows int) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH a AS (SELECT %1$s FROM %2$s), b AS (SELECT %1$s FROM %3$s),
             d AS (SELECT 'only in the target' AS weir_side, x.* FROM (SELECT * FROM a EXCEPT ALL SELECT * FROM b) x
                   UNION ALL
                   SELECT 'not in the target', x.* FROM (SELECT * FROM b EXCEPT ALL SELECT * FROM a) x)
        SELECT NULL::jsonb AS weir_key, n.d AS failed, greatest(n.a, n.b, n.d) AS items, n.a AS total,
               format('%%s rows, %%s differ', n.a, n.d) AS observed, format('%%s rows', n.b) AS expected,
               (SELECT jsonb_agg(to_jsonb(s)) FROM (SELECT * FROM d LIMIT %4$s) s) AS sample, NULL::text AS level, NULL::text AS skipped
        FROM (SELECT (SELECT count(*) FROM a) AS a, (SELECT count(*) FROM b) AS b, (SELECT count(*) FROM d) AS d) n $q$,
        (SELECT string_agg(quote_ident(c), ', ') FROM unnest(columns) c), src, other, sample_rows)
$$;
COMMENT ON FUNCTION weir_internal.check_reconcile(text, text, text[], int) IS 'the statement of kind reconcile with another table';

-- Against what a stream has counted: counters move with the rows, in one transaction.
CREATE FUNCTION weir_internal.check_reconcile_stream(src text, stream regclass, by_partition boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH k AS (SELECT %4$s AS partition, sum(v.staged + v.replayed)::bigint AS n FROM weir.stream_stats v
                   WHERE v.stream_schema = %1$L AND v.stream = %2$L GROUP BY 1),
             m AS (SELECT %5$s AS partition, count(*) AS n FROM %3$s GROUP BY 1),
             d AS (SELECT coalesce(k.partition, m.partition) AS partition, coalesce(k.n, 0) AS expected, coalesce(m.n, 0) AS observed
                   FROM k FULL JOIN m ON m.partition = k.partition)
        SELECT NULL::jsonb AS weir_key, coalesce(sum(abs(d.expected - d.observed)), 0)::bigint AS failed,
               coalesce(sum(greatest(d.expected, d.observed)), 0)::bigint AS items, coalesce(sum(d.observed), 0)::bigint AS total,
               format('%%s rows', coalesce(sum(d.observed), 0)) AS observed, format('%%s events', coalesce(sum(d.expected), 0)) AS expected,
               jsonb_agg(to_jsonb(d)) FILTER (WHERE d.expected <> d.observed) AS sample, NULL::text AS level,
               CASE WHEN NOT EXISTS (SELECT FROM k) THEN 'the stream has no counters that the check''s owner sees' END AS skipped
        FROM d $q$,
        (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = stream),
        (SELECT c.relname FROM pg_class c WHERE c.oid = stream), src,
        CASE WHEN by_partition THEN 'v.partition' ELSE '0' END, CASE WHEN by_partition THEN '_partition' ELSE '0' END)
$$;
COMMENT ON FUNCTION weir_internal.check_reconcile_stream(text, regclass, boolean) IS 'the statement of kind reconcile with a stream';

CREATE FUNCTION weir_internal.check_audit(target regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH d AS (SELECT a.partition, a.consumed, a.staged + a.duplicate + a.dead_lettered + a.dropped + a.skipped AS accounted,
                          s.gap, a.balanced AND s.gap = 0 AS right
                   FROM weir.audit(%1$L::oid::regclass) a
                   JOIN weir.stream_stats s ON s.stream_schema = %2$L AND s.stream = %3$L AND s.partition = a.partition)
        SELECT NULL::jsonb AS weir_key, count(*) FILTER (WHERE d.right IS NOT TRUE) AS failed, count(*) AS items, count(*) AS total,
               format('%%s of %%s partitions balanced, without gaps', count(*) FILTER (WHERE d.right), count(*)) AS observed,
               'all of them' AS expected, jsonb_agg(to_jsonb(d)) FILTER (WHERE d.right IS NOT TRUE) AS sample, NULL::text AS level,
               CASE WHEN count(*) = 0 THEN 'the stream has no partitions yet that the check''s owner sees' END AS skipped
        FROM d $q$,
        target::oid, (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target),
        (SELECT c.relname FROM pg_class c WHERE c.oid = target))
$$;
COMMENT ON FUNCTION weir_internal.check_audit(regclass) IS 'the statement of kind reconcile with a stream''s own accounts';

-- Kinds of checks that compare with what is usual: volume, anomaly, drift.

-- Time is cut into buckets from Monday, 2000-01-03 UTC on.  The last one that is
-- over is judged (number 0), those before it (1, 2, ...) say what is usual.
CREATE FUNCTION weir_internal.check_buckets(src text, key text, at text, value text, bucket text, span text, as_of text, empty text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        t AS MATERIALIZED (SELECT s.bucket, date_bin(s.bucket, s.as_of, timestamptz '2000-01-03Z') - s.bucket AS judged, s.span
              FROM (SELECT %5$s AS bucket, %6$s AS span, %7$s AS as_of) s),
        v AS (SELECT %1$s AS weir_key, date_bin((SELECT bucket FROM t), (%2$s)::timestamptz, timestamptz '2000-01-03Z') AS at,
                     %3$s AS value, count(*) AS n
              FROM %4$s AND (%2$s)::timestamptz < (SELECT judged + bucket FROM t) AND (%2$s)::timestamptz >= (SELECT judged - span FROM t)
              GROUP BY 1, 2),
        -- from the first bucket with data on, those without count
        x AS (SELECT g.weir_key, b.at, b.at = t.judged AS judged, coalesce(v.value::float8, %8$s) AS value, coalesce(v.n, 0) AS n
              FROM t CROSS JOIN (SELECT weir_key, min(at) AS first FROM v GROUP BY 1) g
              CROSS JOIN LATERAL generate_series(g.first, t.judged, t.bucket) b (at)
              LEFT JOIN v ON v.weir_key IS NOT DISTINCT FROM g.weir_key AND v.at = b.at) $q$,
        key, at, value, src, bucket, span, as_of, empty)
$$;
COMMENT ON FUNCTION weir_internal.check_buckets(text, text, text, text, text, text, text, text) IS 'values over buckets of time, as parts of a WITH clause';

CREATE FUNCTION weir_internal.check_volume(src text, key text, col text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH %1$s,
        s AS (SELECT x.weir_key, max(x.value) FILTER (WHERE x.judged) AS now, sum(x.n)::bigint AS total,
                     avg(x.value) FILTER (WHERE NOT x.judged AND ($1->>'against' IS DISTINCT FROM 'same_hour'
                         OR extract(epoch FROM (SELECT judged FROM t) - x.at)::bigint %% 86400 = 0)) AS usual
              FROM x GROUP BY 1),
        c AS (SELECT s.*, 100 * (s.now - s.usual) / nullif(s.usual, 0) AS change FROM s)
        SELECT c.weir_key, CASE WHEN -c.change >= ($1->>'drop')::float8 OR c.change >= ($1->>'spike')::float8 THEN 1 ELSE 0 END::bigint AS failed,
               1::bigint AS items, c.total, concat_ws(', ', c.now || ' rows', CASE WHEN c.change > 0 THEN '+' ELSE '' END || round(c.change::numeric, 1) || ' %%') AS observed,
               concat_ws(' and ', 'a drop below ' || ($1->>'drop') || ' %%', 'a spike below ' || ($1->>'spike') || ' %%')
                   || coalesce(' from ' || round(c.usual::numeric, 1) || ' rows', '') AS expected,
               NULL::jsonb AS sample, NULL::text AS level,
               CASE WHEN c.change IS NULL THEN 'there are no rows before to compare with' END AS skipped
        FROM c $q$,
        weir_internal.check_buckets(src, key, col, 'count(*)', $q$coalesce($1->>'bucket', '1 hour')::interval$q$,
            $q$coalesce(($1->>'window')::interval, CASE $1->>'against' WHEN 'same_hour' THEN '7 days' ELSE '24 hours' END::interval)$q$,
            $q$coalesce(($1->>'as_of')::timestamptz, clock_timestamp())$q$, '0'))
$$;
COMMENT ON FUNCTION weir_internal.check_volume(text, text, text) IS 'the statement of kind volume';

-- score = (value - training mean) / training standard deviation.  Neither is of
-- buckets that are outliers themselves, lest former faults hide the next one:
-- those whose modified z-score is beyond 3.5 (Iglewicz and Hoaglin, How to
-- Detect and Handle Outliers, 1993), unless another one is a week away, or a
-- day: quiet Sundays, say.
CREATE FUNCTION weir_internal.check_anomaly(src text, key text, at text, metric text, col text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH %1$s,
        j AS (SELECT x.weir_key, x.value FROM x WHERE x.judged),
        r AS (SELECT x.weir_key, x.at, x.value
              FROM x CROSS JOIN t
              WHERE NOT x.judged AND CASE $1->>'seasonality'
                  WHEN 'day_of_week' THEN extract(isodow FROM x.at) = extract(isodow FROM t.judged)
                  WHEN 'hour_of_day' THEN extract(hour FROM x.at) = extract(hour FROM t.judged)
                  WHEN 'hour_of_week' THEN extract(isodow FROM x.at) = extract(isodow FROM t.judged)
                      AND extract(hour FROM x.at) = extract(hour FROM t.judged)
                  ELSE true END),
        m AS (SELECT r.weir_key, percentile_cont(0.5) WITHIN GROUP (ORDER BY r.value) AS median FROM r GROUP BY 1),
        -- where more than half of the values are the same, the mean distance from it stands in for the median one
        b AS (SELECT m.weir_key, m.median, 3.5 * coalesce(nullif(1.4826 * percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(r.value - m.median)), 0),
                     1.2533 * avg(abs(r.value - m.median))) AS bound
              FROM m JOIN r ON r.weir_key IS NOT DISTINCT FROM m.weir_key GROUP BY 1, 2),
        o AS (SELECT x.weir_key, x.at, sign(x.value - b.median) AS side
              FROM x JOIN b ON b.weir_key IS NOT DISTINCT FROM x.weir_key WHERE abs(x.value - b.median) > b.bound),
        -- what comes again by the week, or by the day, is usual
        u AS (SELECT o.weir_key, o.at FROM o CROSS JOIN t
              WHERE NOT EXISTS (SELECT FROM o p WHERE p.weir_key IS NOT DISTINCT FROM o.weir_key AND p.side = o.side
                  AND (t.bucket <= '1 day' AND p.at - o.at IN ('7 days', '-7 days') OR t.bucket < '1 day' AND p.at - o.at IN ('1 day', '-1 day')))),
        s AS (SELECT r.weir_key, avg(r.value) FILTER (WHERE u.at IS NULL) AS mean,
                     stddev_samp(r.value) FILTER (WHERE u.at IS NULL) AS deviation, count(r.value) AS n
              FROM r LEFT JOIN u ON u.at = r.at AND u.weir_key IS NOT DISTINCT FROM r.weir_key GROUP BY 1),
        c AS (SELECT j.weir_key, j.value, s.mean, s.deviation, coalesce(s.n, 0) AS n,
                     CASE WHEN j.value = s.mean THEN 0 WHEN s.deviation = 0 THEN sign(j.value - s.mean) * float8 'Infinity'
                          ELSE (j.value - s.mean) / s.deviation END AS score,
                     coalesce(($1->>'sensitivity')::float8, 3) AS sensitivity, coalesce($1->>'direction', 'both') AS direction,
                     coalesce(($1->>'min_training_set')::int, 7) AS least
              FROM j LEFT JOIN s ON s.weir_key IS NOT DISTINCT FROM j.weir_key)
        SELECT c.weir_key, CASE WHEN c.direction <> 'drop' AND c.score > c.sensitivity OR c.direction <> 'spike' AND -c.score > c.sensitivity
                                THEN 1 ELSE 0 END::bigint AS failed,
               1::bigint AS items, (SELECT sum(x.n) FROM x WHERE x.weir_key IS NOT DISTINCT FROM c.weir_key)::bigint AS total,
               concat_ws(', ', round(c.value::numeric, 4)::float8, 'score ' || round(c.score::numeric, 2)) AS observed,
               concat_ws(' ± ', round(c.mean::numeric, 4)::float8, round((c.sensitivity * c.deviation)::numeric, 4)::float8) AS expected,
               NULL::jsonb AS sample, NULL::text AS level,
               CASE WHEN c.value IS NULL THEN 'there is no value in the last bucket'
                    WHEN c.n < c.least THEN format('%%s buckets to learn from, %%s needed', c.n, c.least) END AS skipped
        FROM c $q$,
        weir_internal.check_buckets(src, key, at,
            CASE metric WHEN 'row_count' THEN 'count(*)' WHEN 'null_rate' THEN format('count(*) FILTER (WHERE %s IS NULL)::float8 / count(*)', col)
                        WHEN 'cardinality' THEN format('count(DISTINCT %s)', col) ELSE format('%s(%s)', metric, col) END,
            $q$coalesce($1->>'bucket', '1 day')::interval$q$,
            $q$coalesce(($1->>'training_period')::interval, CASE WHEN $1->>'seasonality' LIKE '%of_week' THEN '98 days' ELSE '14 days' END::interval)$q$,
            $q$coalesce(($1->>'as_of')::timestamptz, clock_timestamp())$q$,
            CASE WHEN metric = 'row_count' THEN '0' ELSE 'NULL' END))
$$;
COMMENT ON FUNCTION weir_internal.check_anomaly(text, text, text, text, text) IS 'the statement of kind anomaly';

-- now and base: queries of one column x without NULLs, of type float8 or text.
CREATE FUNCTION weir_internal.check_drift(now text, base text, is_number boolean, method text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH now AS MATERIALIZED (%1$s), base AS MATERIALIZED (%2$s),
        n AS (SELECT (SELECT count(*) FROM now)::float8 AS now, (SELECT count(*) FROM base)::float8 AS base), %3$s
        c AS (SELECT %4$s AS value, coalesce(($1->>'threshold')::float8, %5$s) AS threshold FROM n)
        SELECT NULL::jsonb AS weir_key, CASE WHEN c.value > c.threshold THEN 1 ELSE 0 END::bigint AS failed, 1::bigint AS items,
               n.now::bigint AS total, format('%6$s %%s', round(c.value::numeric, 4)) AS observed,
               format('at most %%s', round(c.threshold::numeric, 4)) AS expected, NULL::jsonb AS sample, NULL::text AS level,
               CASE WHEN least(n.now, n.base) < coalesce(($1->>'min_rows')::float8, 100)
                    THEN format('%%s rows now, %%s before, %%s needed', n.now, n.base, coalesce($1->>'min_rows', '100')) END AS skipped
        FROM n CROSS JOIN c $q$,
        now, base,
        CASE WHEN method = 'ks' THEN $q$
            -- the greatest distance between the two cumulative distributions
            f AS (SELECT sum(u.now) OVER w AS now, sum(u.base) OVER w AS base
                  FROM (SELECT x, 1 AS now, 0 AS base FROM now UNION ALL SELECT x, 0, 1 FROM base) u WINDOW w AS (ORDER BY u.x)), $q$
        WHEN is_number THEN $q$
            e AS (SELECT array_agg(DISTINCT q.x ORDER BY q.x) AS edges FROM unnest((
                      SELECT percentile_cont(ARRAY(SELECT i::float8 / k.bins FROM (SELECT coalesce(($1->>'bins')::int, 10) AS bins) k, generate_series(1, k.bins - 1) i))
                             WITHIN GROUP (ORDER BY x) FROM base)) q (x)
                 ),
            p AS (SELECT i.bin, coalesce(a.n, 0) AS now, coalesce(b.n, 0) AS base
                  FROM e CROSS JOIN LATERAL generate_series(0, cardinality(e.edges)) i (bin)
                  LEFT JOIN (SELECT width_bucket(x, (SELECT edges FROM e)) AS bin, count(*) AS n FROM now GROUP BY 1) a USING (bin)
                  LEFT JOIN (SELECT width_bucket(x, (SELECT edges FROM e)) AS bin, count(*) AS n FROM base GROUP BY 1) b USING (bin)), $q$
        ELSE $q$
            p AS (SELECT coalesce(a.n, 0) AS now, coalesce(b.n, 0) AS base
                  FROM (SELECT x, count(*) AS n FROM now GROUP BY 1) a FULL JOIN (SELECT x, count(*) AS n FROM base GROUP BY 1) b USING (x)), $q$ END,
        CASE WHEN method = 'ks' THEN '(SELECT max(abs(f.now / nullif(n.now, 0) - f.base / nullif(n.base, 0))) FROM f)'
             -- a bin that is empty on one side counts as one in ten thousand
             ELSE $q$(SELECT sum((s.now - s.base) * ln(s.now / s.base)) FROM (
                      SELECT greatest(p.now / nullif(n.now, 0), 0.0001) AS now, greatest(p.base / nullif(n.base, 0), 0.0001) AS base FROM p) s)$q$ END,
        -- A difference must matter, and not be by chance: two samples of one distribution exceed the critical distance in 5 % of
        -- cases, the critical index in 1 %: it is like chi-squared times (1 / n + 1 / m) (Yurdakul, Statistical Properties of the
        -- Population Stability Index, 2018), a quantile of which is here by Wilson and Hilferty.
        CASE WHEN method = 'ks' THEN 'greatest(1.3581 * sqrt((n.now + n.base) / nullif(n.now * n.base, 0)), 0.1)'
             ELSE $q$greatest((SELECT k.k * (1 - 2 / (9 * k.k) + 2.3263 * sqrt(2 / (9 * k.k))) ^ 3
                                        FROM (SELECT nullif(count(*) - 1, 0)::float8 AS k FROM p) k)
                                       * (1 / nullif(n.now, 0) + 1 / nullif(n.base, 0)), 0.2)$q$ END, method)
$$;
COMMENT ON FUNCTION weir_internal.check_drift(text, text, boolean, text) IS 'the statement of kind drift: the population stability index, or the statistic of Kolmogorov and Smirnov';

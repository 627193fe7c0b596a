-- Any aggregate that can be combined gives what it gives over a table: after
-- many batches, runs merged twice over, windows closed on the way.
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE EXTENSION tdigest;
CREATE EXTENSION hll;
CREATE TYPE shade AS ENUM ('dark', 'grey', 'light');
CREATE TYPE tally AS (n bigint, label text);

-- of users: states by value, of variable length, composite, internal, polymorphic
CREATE AGGREGATE total(int) (sfunc = int4_sum, stype = int8, combinefunc = int8pl, initcond = '0');
CREATE AGGREGATE greatest_text(text) (sfunc = text_larger, stype = text, combinefunc = text_larger);
CREATE FUNCTION tally_next(tally, int) RETURNS tally LANGUAGE sql IMMUTABLE AS $$ SELECT ROW($1.n + $2, $1.label || 'x')::tally $$;
CREATE FUNCTION tally_add(tally, tally) RETURNS tally LANGUAGE sql IMMUTABLE AS $$ SELECT ROW($1.n + $2.n, $1.label || $2.label)::tally $$;
CREATE FUNCTION tally_end(tally) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1.n || ':' || length($1.label) $$;
CREATE AGGREGATE tallied(int) (sfunc = tally_next, stype = tally, combinefunc = tally_add, finalfunc = tally_end, initcond = '(0,"")');
CREATE AGGREGATE mean(numeric) (sfunc = numeric_avg_accum, stype = internal, combinefunc = numeric_avg_combine,
    serialfunc = numeric_avg_serialize, deserialfunc = numeric_avg_deserialize, finalfunc = numeric_avg);
CREATE AGGREGATE collected(anycompatible) (sfunc = array_append, stype = anycompatiblearray, combinefunc = array_cat, initcond = '{}');
CREATE FUNCTION longer(anycompatible, anycompatible) RETURNS anycompatible LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN $1 IS NULL OR length($2::text) > length($1::text) OR length($2::text) = length($1::text) AND $2::text < $1::text COLLATE "C" THEN $2 ELSE $1 END
$$;
CREATE AGGREGATE longest(anycompatible) (sfunc = longer, stype = anycompatible, combinefunc = longer);
-- two arguments, a state that counts NULLs, a final function that is told the arguments' types
CREATE FUNCTION pair_next(bigint[], int, text) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY[$1[1] + coalesce($2, 0), $1[2] + coalesce(length($3), 100)] $$;
CREATE FUNCTION pair_add(bigint[], bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY[$1[1] + $2[1], $1[2] + $2[2]] $$;
CREATE FUNCTION pair_end(bigint[], int, text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT $1[1] * 1000 + $1[2] $$;
CREATE AGGREGATE paired(int, text) (sfunc = pair_next, stype = bigint[], combinefunc = pair_add, finalfunc = pair_end, finalfunc_extra, initcond = '{0,0}');

SELECT weir.create_stream('facts', $$ g text, i2 int2, i4 int4, i8 int8, n numeric, f4 float4, f8 float8, y float8, m money, d interval, t text,
    s shade, b bool, bits bit(8), day date, ip inet, c char(5), a int[], r int4range, clock time, u uuid, ts timestamptz $$,
    event_time => 'ts', max_out_of_orderness => '10 s');

-- what is shown of some has no order, or is an estimate
CREATE TABLE functions (i int GENERATED ALWAYS AS IDENTITY, e text, tolerance float8 DEFAULT 0);
INSERT INTO functions (e) SELECT unnest(ARRAY['count(*)', 'count(f8)', 'regr_count(f8, y)', 'bool_and(b)', 'bool_or(b)', 'every(b)', 'total(i4)',
    'greatest_text(t)', 'tallied(i4)', 'mean(n)', 'longest(t)', 'longest(a)', 'paired(i4, t)',
    'hll_cardinality(hll_add_agg(hll_hash_integer(i4)))',
    'sum(i4) FILTER (WHERE b)', 'count(*) FILTER (WHERE i4 > 1000000)', 'max(t) || min(t)']);
INSERT INTO functions (e) SELECT format('sorted(collected(%s))', x) FROM unnest('{i4,t,n}'::text[]) x;
CREATE FUNCTION sorted(anyarray) RETURNS anyarray LANGUAGE sql IMMUTABLE AS $$ SELECT array_agg(x ORDER BY x) FROM unnest($1) x $$;
INSERT INTO functions (e) SELECT format('%s(%s)', f, x) FROM unnest('{sum,avg}'::text[]) f, unnest('{i2,i4,i8,n,d}'::text[]) x;
INSERT INTO functions (e) VALUES ('sum(m)');
INSERT INTO functions (e) SELECT format('%s(%s)', f, x) FROM unnest('{min,max}'::text[]) f,
    unnest('{i2,i4,i8,n,f4,f8,m,d,t,s,day,ip,c,a,clock,ts,"day::timestamp","i4::oid","clock::timetz"}'::text[]) x;
INSERT INTO functions (e) SELECT format('%s(%s)', f, x) FROM unnest('{bit_and,bit_or,bit_xor}'::text[]) f, unnest('{i2,i4,i8,bits}'::text[]) x;
INSERT INTO functions (e, tolerance) SELECT format('%s(%s)', f, x), CASE WHEN x LIKE 'f%' THEN 1e-9 ELSE 0 END
FROM unnest('{stddev,stddev_pop,stddev_samp,variance,var_pop,var_samp}'::text[]) f, unnest('{i2,i4,i8,n,f4,f8}'::text[]) x;
INSERT INTO functions (e, tolerance) SELECT format('%s(%s)', f, x), 1e-6 FROM unnest('{sum,avg}'::text[]) f, unnest('{f4,f8}'::text[]) x;
INSERT INTO functions (e, tolerance) SELECT format('%s(y, f8)', f), 1e-6
FROM unnest('{corr,covar_pop,covar_samp,regr_avgx,regr_avgy,regr_intercept,regr_r2,regr_slope,regr_sxx,regr_sxy,regr_syy}'::text[]) f;
INSERT INTO functions (e, tolerance) VALUES ('tdigest_percentile(f8, 100, 0.5)', 0.2), ('tdigest_count(tdigest(f8, 100))', 0);
SELECT count(*) FROM functions;

CREATE FUNCTION columns_of() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(format('%s AS a%s', e, i), ', ' ORDER BY i) FROM functions $$;
SELECT weir.create_continuous_aggregate('totals', format('SELECT g, %s FROM facts GROUP BY g', columns_of()));
SELECT weir.create_continuous_aggregate('tumbles', format('SELECT g, %s FROM facts GROUP BY g', columns_of()), weir.tumble('100 s'));
SELECT weir.create_continuous_aggregate('hops', format('SELECT g, %s FROM facts GROUP BY g', columns_of()), weir.hop('150 s', '70 s'));
SELECT weir.create_continuous_aggregate('sessions', format('SELECT g, %s FROM facts GROUP BY g', columns_of()), weir.session('5 s'));

-- Batches of one to three events, some of them NULLs; the same numbers each time.
CREATE FUNCTION fact(i int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT CASE WHEN i % 11 = 0 THEN jsonb_build_object('g', 'b') ELSE jsonb_build_object('g', CASE WHEN i % 7 = 0 THEN NULL ELSE chr(97 + i % 3) END,
        'i2', h % 30000 - 15000, 'i4', h % 1000, 'i8', h * 1000003, 'n', (h % 100000) / 1000.0, 'f4', (h % 100) / 4.0, 'f8', (h % 1000) / 8.0 + 100,
        'y', (h % 1000) / 4.0 + i % 5, 'm', (h % 100)::text, 'd', format('%s hours %s days', h % 100, h % 7), 't', md5(h::text), 's', (ARRAY['dark', 'grey', 'light'])[1 + h % 3],
        'b', h % 2 = 0, 'bits', (h % 256)::int::bit(8)::text, 'day', '2026-01-01'::date + (h % 300)::int, 'ip', format('10.0.0.%s', h % 256), 'c', chr(97 + (h % 20)::int),
        'a', ARRAY[h % 5, h % 3], 'clock', '00:00'::time + h % 1000 * interval '1 s') END
        || jsonb_build_object('ts', '2026-01-01Z'::timestamptz + (i + h % 30) * interval '1 s')
    FROM (SELECT (i::bigint * 7919 + i * i % 1009) % 99991 AS h) x
$$;
DO $$
DECLARE
    i int := 1;
BEGIN
    FOR batch IN 1 .. 300 LOOP
        PERFORM weir.ingest('facts', (SELECT array_agg(fact(j)) FROM generate_series(i, i + batch % 3) j));
        i := i + batch % 3 + 1;
    END LOOP;
END
$$;
SELECT count(*), count(*) FILTER (WHERE _watermark > ts) AS behind FROM facts;

-- Compares a view with what its query gives over what is staged.
CREATE FUNCTION differences(view regclass, plain text) RETURNS TABLE (what text, got text, expected text) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format($q$
        WITH got AS MATERIALIZED (SELECT to_jsonb(v) - 'is_final' AS j FROM %s v), expected AS MATERIALIZED (SELECT to_jsonb(p) AS j FROM (%s) p),
        pairs AS (SELECT coalesce(g.j, '{}') AS g, coalesce(e.j, '{}') AS e FROM got g FULL JOIN expected e
            ON jsonb_build_array(g.j->'window_start', g.j->'window_end', g.j->'g') = jsonb_build_array(e.j->'window_start', e.j->'window_end', e.j->'g'))
        SELECT coalesce(f.e, 'row'), g->>k, p.e->>k
        FROM pairs p, LATERAL jsonb_object_keys(g || p.e) k LEFT JOIN functions f ON k = 'a' || f.i
        WHERE g->k IS DISTINCT FROM p.e->k
          AND NOT coalesce(f.tolerance > 0 AND abs((g->>k)::float8 - (p.e->>k)::float8) <= f.tolerance * greatest(1, abs((p.e->>k)::float8)), false)
        LIMIT 20 $q$, view, plain);
END
$$;
-- (it does tell)
SELECT count(*) > 0 AS differs FROM differences('totals', format('SELECT g, %s FROM facts WHERE _offset > 0 GROUP BY g', columns_of()));
SELECT * FROM differences('totals', format('SELECT g, %s FROM facts GROUP BY g', columns_of()));
SELECT * FROM differences('tumbles', format($$ SELECT window_start, window_end, g, %s FROM facts,
    weir_internal.windows_of(weir.tumble('100 s'), ts, _watermark) WHERE NOT late GROUP BY window_start, window_end, g $$, columns_of()));
SELECT * FROM differences('hops', format($$ SELECT window_start, window_end, g, %s FROM facts,
    weir_internal.windows_of(weir.hop('150 s', '70 s'), ts, _watermark) WHERE NOT late GROUP BY window_start, window_end, g $$, columns_of()));
SELECT * FROM differences('sessions', format($$ SELECT min(ts) AS window_start, max(ts) + interval '5 s' AS window_end, g, %s
    FROM (SELECT *, sum(begins) OVER (PARTITION BY g ORDER BY ts) AS island
        FROM (SELECT *, CASE WHEN ts - lag(ts) OVER (PARTITION BY g ORDER BY ts) <= interval '5 s' THEN 0 ELSE 1 END AS begins
            FROM facts, weir_internal.windows_of(weir.session('5 s'), ts, _watermark) WHERE NOT late) x) x GROUP BY g, island $$, columns_of()));
SELECT count(*), count(*) FILTER (WHERE is_final) AS final FROM tumbles;

DROP TABLE facts CASCADE;
DROP TABLE functions;
DROP FUNCTION columns_of, fact, differences, sorted;
DROP AGGREGATE total(int), greatest_text(text), tallied(int), mean(numeric), collected(anycompatible), longest(anycompatible), paired(int, text);
DROP FUNCTION tally_next, tally_add, tally_end, longer, pair_next, pair_add, pair_end;
DROP TYPE shade, tally;
DROP EXTENSION tdigest;
DROP EXTENSION hll;

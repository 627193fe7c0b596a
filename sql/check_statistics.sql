-- Volume, anomaly, drift: the numbers were computed beside, in Python.
\set VERBOSITY terse
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA cks;
SET search_path = cks;
CREATE FUNCTION says(r weir.check_results) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', r.status, r.failed_rows || '/' || r.total_rows, r.observed, r.expected, r.message, r.sqlstate)
$$;

-- 100 rows an hour for twenty days, 50 in the last one
CREATE TABLE v AS SELECT timestamptz '2026-01-01Z' + i * interval '1 hour' + j * interval '1 second' AS at, j::float8 AS x
FROM generate_series(0, 479) i, generate_series(1, 100) j WHERE i < 479 OR j <= 50;
SELECT says(weir.check_volume('v', 'at', 20, as_of => '2026-01-21Z'));
SELECT says(weir.check_volume('v', 'at', 50, as_of => '2026-01-21Z')), says(weir.check_volume('v', 'at', 51, as_of => '2026-01-21Z'));
-- the hour that is not over is not judged
SELECT says(weir.check_volume('v', 'at', 20, as_of => '2026-01-20 23:59Z'));
SELECT says(weir.check_volume('v', 'at', 20, 20, as_of => '2026-01-21 01:00Z'));
SELECT says(weir.check_volume('v', 'at', 20, 99, against => 'same_hour', as_of => '2026-01-21Z'));
-- at 12 o'clock it is always double: no spike against the same hour
INSERT INTO v SELECT at, x FROM v WHERE extract(hour FROM at) = 12;
SELECT says(weir.check_volume('v', 'at', spike_by => 50, as_of => '2026-01-20 13:00Z')),
    says(weir.check_volume('v', 'at', spike_by => 50, against => 'same_hour', as_of => '2026-01-20 13:00Z'));
SELECT says(weir.check_volume('v', 'at', 20, as_of => '2025-01-01Z')), says(weir.check_volume('v', 'at', 20, as_of => '2026-01-01 01:00Z'));
SELECT group_key, status, observed FROM weir.try_check('v', 'volume', '{"column": "at", "drop": 20, "as_of": "2026-01-21Z"}', group_by => '{x}', filter => 'x IN (50, 51)');

-- fourteen days of 101, 104, 109, 103, 112, 110, 110, 112, 103, 109, 104, 101, 100, 101 rows: mean 105.642857, deviation 4.448114
CREATE TABLE a AS SELECT timestamptz '2026-01-01Z' + (d - 1) * interval '1 day' + j * interval '1 minute' AS at, d, ((d * 37 % 11) / 2.0 + 20)::float8 AS x
FROM generate_series(1, 14) d, generate_series(1, 100 + d * d % 13) j;
CREATE FUNCTION anomaly(n int, variadic more text[] DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r text;
BEGIN
    INSERT INTO a SELECT '2026-01-15Z'::timestamptz + j * interval '1 second', 15, 30 FROM generate_series(1, n) j;
    SELECT says(t) INTO r FROM weir.try_check('a', 'anomaly', '{"timestamp_column": "at", "as_of": "2026-01-16Z"}'::jsonb || jsonb_object(more)) t;
    DELETE FROM a WHERE d = 15;
    RETURN r;
END $$;
-- scores 9.97, 2.55, -5.76; three deviations are 13.3443
SELECT anomaly(150), anomaly(117), anomaly(80);
SELECT anomaly(150, 'direction', 'drop'), anomaly(80, 'direction', 'drop'), anomaly(80, 'direction', 'spike');
SELECT anomaly(0);
SELECT says(t) FROM weir.try_check('a', 'anomaly', '{"timestamp_column": "at", "as_of": "2026-01-15Z", "sensitivity": 0.9}') t;
-- average 22.428571, deviation 1.615515 of the days' (weighed alike); 30 scores 4.69
SELECT says(weir.check_anomaly('a', 'at', 'avg', 'x', as_of => '2026-01-15Z'));
INSERT INTO a VALUES ('2026-01-15 12:00Z', 15, 30), ('2026-01-15 13:00Z', 15, NULL);
SELECT says(weir.check_anomaly('a', 'at', 'avg', 'x', as_of => '2026-01-16Z'));
SELECT says(weir.check_anomaly('a', 'at', 'null_rate', 'x', as_of => '2026-01-16Z')), says(weir.check_anomaly('a', 'at', 'max', 'x', as_of => '2026-01-16Z', training_period => '3 days'));
-- too little to learn from: six days
SELECT says(weir.check_anomaly('a', 'at', as_of => '2026-01-07Z')), says(weir.check_anomaly('a', 'at', as_of => '2026-01-07Z', min_training_set => 3));
SELECT says(weir.check_anomaly('a', 'at', seasonality => 'day_of_week', as_of => '2026-01-15Z'));
-- mean 10, deviation 2: 16 is not more than three of them; nine days are enough where nine are needed
CREATE TABLE e AS SELECT timestamptz '2026-01-01Z' + d * interval '1 day' + j * interval '1 second' AS at
FROM generate_series(0, 9) d, generate_series(1, CASE WHEN d = 9 THEN 16 WHEN d = 8 THEN 10 ELSE 8 + d % 2 * 4 END) j;
SELECT says(weir.check_anomaly('e', 'at', as_of => '2026-01-11Z', min_training_set => 9)), says(weir.check_anomaly('e', 'at', as_of => '2026-01-11Z', min_training_set => 10)),
    says(weir.check_anomaly('e', 'at', as_of => '2026-01-11Z', sensitivity => 2.999));
-- Sundays are quiet: by the week they are not
CREATE TABLE w AS SELECT d AS at FROM generate_series(timestamptz '2025-10-01Z', '2026-01-11Z', '1 day') d, generate_series(1, 100) j
WHERE extract(isodow FROM d) < 7 OR j <= 10;
SELECT says(weir.check_anomaly('w', 'at', as_of => '2026-01-12Z', sensitivity => 2)),
    says(weir.check_anomaly('w', 'at', as_of => '2026-01-12Z', sensitivity => 2, seasonality => 'day_of_week'));
SELECT says(weir.check_anomaly('v', 'at', 'avg', 'x', bucket => '1 hour', seasonality => 'hour_of_day', as_of => '2026-01-21Z'));
-- noons come again: they are not left out as outliers, of which half would deviate infinitely
SELECT says(weir.check_anomaly('v', 'at', bucket => '1 hour', as_of => '2026-01-20 13:00Z')), says(weir.check_anomaly('v', 'at', bucket => '6 hours', as_of => '2026-01-21Z'));

-- in three days they come again by the day alone
SELECT says(weir.check_anomaly('v', 'at', bucket => '1 hour', training_period => '3 days', as_of => '2026-01-20 13:00Z'));

-- A former fault does not hide the next one: the thirteenth day has ten times as many rows, and is left out.
INSERT INTO a SELECT at, d, x FROM a, generate_series(1, 9) WHERE d = 13;
SELECT anomaly(150), anomaly(117), anomaly(80);
-- unless it is so by the week
INSERT INTO a SELECT at - interval '7 days', 6, x FROM a WHERE d = 13;
SELECT anomaly(150), anomaly(117), anomaly(80);
-- that one is high and one is low is no habit
DELETE FROM a WHERE d = 6 AND at > '2026-01-06 00:01Z';
SELECT anomaly(150), anomaly(117), anomaly(80);
-- also where more than half of the days are the same
CREATE TABLE same AS SELECT timestamptz '2026-01-01Z' + d * interval '1 day' + j * interval '1 second' AS at
FROM generate_series(0, 14) d, generate_series(1, CASE d WHEN 5 THEN 90 WHEN 6 THEN 12 WHEN 14 THEN 15 ELSE 10 END) j;
SELECT says(weir.check_anomaly('same', 'at', as_of => '2026-01-16Z')), says(weir.check_anomaly('same', 'at', as_of => '2026-01-15Z'));

-- Drift.  PSI by deciles of the baseline 1.06396; D 0.281, and 0.07439 at 5 %; PSI of categories 1.56405.
CREATE TABLE b1 AS SELECT (i * 7919 % 1000) / 10.0 AS x, 'k' || i % 5 AS k, timestamptz '2026-01-01Z' + i * interval '1 minute' AS at FROM generate_series(1, 1000) i;
CREATE TABLE b2 AS SELECT 10 + (i * 7919 % 1000) / 8.0 AS x, 'k' || i % 4 AS k, timestamptz '2026-01-08Z' + i * interval '1 minute' AS at FROM generate_series(1, 500) i;
SELECT says(weir.check_drift('b2', 'x', 'b1')), says(weir.check_drift('b2', 'x', 'b1', 'ks')), says(weir.check_drift('b2', 'k', 'b1'));
SELECT says(weir.check_drift('b1', 'x', 'b1')), says(weir.check_drift('b1', 'x', 'b1', 'ks')), says(weir.check_drift('b1', 'k', 'b1'));
SELECT says(weir.check_drift('b2', 'x', 'b1', threshold => 2)), says(weir.check_drift('b2', 'x', 'b1', bins => 2));
-- what is found by chance in few rows is none: the critical index of 10 bins is 21.67 (1/n + 1/m), of 4 bins 11.34 (1/n + 1/m)
SELECT says(weir.check_drift('b2', 'x', 'b1', min_rows => 1, filter => 'x < 16')), says(weir.check_drift('b2', 'x', 'b1', bins => 4, min_rows => 1, filter => 'x < 16')),
    says(weir.check_drift('b2', 'k', 'b2', min_rows => 1, filter => 'x < 11'));
-- two times a hundred numbers of one distribution, with an index that is beyond 0.2 by chance
CREATE TABLE h1 AS SELECT ('x' || left(md5('c' || i), 6))::bit(24)::int AS x FROM generate_series(1, 100) i;
CREATE TABLE h2 AS SELECT ('x' || left(md5('b' || i), 6))::bit(24)::int AS x FROM generate_series(1, 100) i;
SELECT says(weir.check_drift('h1', 'x', 'h2')), says(weir.check_drift('h1', 'x', 'h2', threshold => 0.2));
-- nor is a distance that is too small to matter
CREATE TABLE b3 AS SELECT x + 7 AS x FROM b1, generate_series(1, 20);
SELECT says(weir.check_drift('b3', 'x', 'b1', 'ks')), says(weir.check_drift('b3', 'x', 'b1', 'ks', threshold => 0.06));
-- another way to D
SELECT round(max(abs((SELECT count(*) FROM b2 WHERE b2.x <= p.x) / 500.0 - (SELECT count(*) FROM b1 WHERE b1.x <= p.x) / 1000.0)), 4) AS d
FROM (SELECT x FROM b1 UNION SELECT x FROM b2) p;
-- against what was before in the same table
INSERT INTO b1 SELECT * FROM b2;
SELECT says(weir.check_drift('b1', 'x', timestamp_column => 'at', as_of => '2026-01-08 12:00Z'));
SELECT says(weir.check_drift('b2', 'x', 'b1', filter => 'at < ''2026-01-08 00:50Z''')), says(weir.check_drift('b2', 'at', 'b1', 'ks'));

-- Statements are not compiled, which would take longer than they do; the session's setting stays.
SET jit = on;
SELECT says(weir.check_custom_sql('a', $$SELECT 1 WHERE current_setting('jit') = 'on'$$)), current_setting('jit');
DROP SCHEMA cks CASCADE;

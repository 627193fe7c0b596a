-- How well checks find faults: days at random, every second one with a fault of
-- random kind and size; each check judges each day once it is over.  Run by
-- demo/quality --score, which sets :seed, :days and :keep.
--
-- Precision: of the alarms of a check, those on days with a fault that it is
-- to find.  Recall: of the days with such a fault, those with an alarm.

\set ON_ERROR_STOP on
\pset footer off
\pset linestyle ascii
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET jit = off;                  -- its compiling would take most of the time
DROP SCHEMA IF EXISTS quality_score CASCADE;
CREATE SCHEMA quality_score;
SET search_path = quality_score;
SELECT setseed(:seed / 1000000000.0) \g /dev/null

CREATE TABLE reading (id bigint, temp float8, ts timestamptz, delay float8);
CREATE INDEX ON reading (ts);
CREATE INDEX ON reading (id);
CREATE TABLE good_day (LIKE reading);

CREATE FUNCTION normal() RETURNS float8 LANGUAGE sql VOLATILE AS $$
    SELECT sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())
$$;

-- A good day: about 4000 readings at random times, half as many by night, a
-- tenth less on weekends, 3 % more or less from day to day; warm at noon, and
-- some days warmer than others; one in 200 without a temperature.
CREATE PROCEDURE fill(day timestamptz) LANGUAGE sql AS $$
    INSERT INTO reading
    SELECT (extract(epoch FROM day) * 100)::bigint + n, CASE WHEN random() > 0.005 THEN 20 + d.warmth
               - 4 * cos(2 * pi() * extract(epoch FROM at - day) / 86400) + normal() END, at, 5 * -ln(1 - random())
    FROM (SELECT normal() / 5 AS warmth, (4800 * (1 + normal() * 0.03)
                 * CASE WHEN extract(isodow FROM day) > 5 THEN 0.9 ELSE 1 END)::int AS readings OFFSET 0) d,
         LATERAL (SELECT n, day + random() * interval '86399 seconds' AS at FROM generate_series(1, d.readings) n OFFSET 0) r
    WHERE extract(hour FROM at) BETWEEN 6 AND 21 OR random() < 0.5
$$;

-- $1: the day; $2: the size, from 0 to 1.
CREATE TABLE fault (name text PRIMARY KEY, size text, how text);
INSERT INTO fault VALUES
    ('nulls', '3 to 30 % of the values', 'UPDATE reading SET temp = NULL WHERE ts >= $1 AND random() < 0.03 + 0.27 * $2'),
    ('missing column', 'from some hour on',
        $$UPDATE reading SET temp = NULL WHERE ts >= $1 + $2 * interval '23 hours'$$),
    ('duplicates', '0.5 to 20 % of the rows',
        'INSERT INTO reading SELECT * FROM reading WHERE ts >= $1 AND random() < 0.005 + 0.195 * $2'),
    ('outliers', '0.1 to 2 % of the values, 100 or more',
        'UPDATE reading SET temp = 100 + 900 * random() WHERE ts >= $1 AND random() < 0.001 + 0.019 * $2'),
    ('drift', 'by 2 to 8 degrees in the course of the day, up or down',
        $$UPDATE reading SET temp = temp + sign($2 - 0.5) * (2 + 12 * abs($2 - 0.5))
              * extract(epoch FROM ts - $1) / 86400 WHERE ts >= $1$$),
    ('volume drop', 'by 30 to 80 %', 'DELETE FROM reading WHERE ts >= $1 AND random() < 0.3 + 0.5 * $2'),
    ('volume spike', 'by 60 to 200 %', $$INSERT INTO reading SELECT id + n * 10000000000000, temp, ts, delay FROM reading,
        generate_series(1, 2) n WHERE ts >= $1 AND random() < 0.3 + 0.7 * $2$$),
    ('late data', '2 to 20 % of the rows, by up to six hours',
        'UPDATE reading SET delay = delay + 21600 * random() WHERE ts >= $1 AND random() < 0.02 + 0.18 * $2');

-- finds: the faults it is to find.  may: those that do change what it looks at,
-- by and by; days with one of them count neither way.
CREATE TABLE judge (number int GENERATED ALWAYS AS IDENTITY, name text, kind text, params jsonb, mostly float8, since interval, finds text[], may text[] DEFAULT '{}');
INSERT INTO judge (name, kind, params, mostly, since, finds, may) VALUES
    ('completeness, mostly 0.98', 'completeness', '{"column": "temp"}', 0.98, '1 day', '{nulls,missing column}', '{}'),
    ('unique', 'unique', '{"columns": ["id"]}', NULL, '1 day', '{duplicates}', '{}'),
    ('accepted_range, -50 to 60', 'accepted_range', '{"column": "temp", "min": -50, "max": 60}', NULL, '1 day', '{outliers}', '{}'),
    ('aggregate, p99 of delay at most 60', 'aggregate', '{"column": "delay", "function": "p99", "max": 60}', NULL, '1 day', '{late data}', '{}'),
    ('volume, day, drop 20, spike 50', 'volume', '{"column": "ts", "bucket": "1 day", "window": "7 days", "drop": 20, "spike": 50}', NULL, '15 days',
        '{volume drop,volume spike}', '{duplicates}'),
    ('volume, hour, drop 20, spike 50', 'volume', '{"column": "ts", "against": "same_hour", "drop": 20, "spike": 50}', NULL, '15 days',
        '{volume drop,volume spike}', '{duplicates}'),
    ('anomaly, row_count', 'anomaly', '{"timestamp_column": "ts"}', NULL, '15 days', '{volume drop,volume spike}', '{duplicates}'),
    ('anomaly, null_rate', 'anomaly', '{"timestamp_column": "ts", "metric": "null_rate", "column": "temp", "direction": "spike"}', NULL, '15 days',
        '{nulls,missing column}', '{}'),
    ('anomaly, avg', 'anomaly', '{"timestamp_column": "ts", "metric": "avg", "column": "temp"}', NULL, '15 days',
        '{drift}', '{outliers,missing column}'),
    ('drift, psi', 'drift', '{"column": "temp", "timestamp_column": "ts"}', NULL, '15 days', '{drift}', '{outliers,missing column}'),
    ('drift, ks', 'drift', '{"column": "temp", "timestamp_column": "ts", "method": "ks"}', NULL, '15 days', '{drift}', '{outliers,missing column}'),
    ('drift, ks, threshold 0.024', 'drift', '{"column": "temp", "timestamp_column": "ts", "method": "ks", "threshold": 0.024}', NULL, '15 days',
        '{drift}', '{outliers,missing column}');

CREATE TABLE verdict (day timestamptz, fault text, size float8, judge int, status text, observed text);

CREATE PROCEDURE live(days int, keep boolean) LANGUAGE plpgsql AS $$
DECLARE
    day timestamptz := '2026-01-01';
    f fault;
    size float8;
BEGIN
    FOR n IN 1 .. days + 14 LOOP
        CALL fill(day);
        IF n > 14 THEN
            f := NULL;
            size := random();
            IF random() < 0.5 THEN
                SELECT * INTO f FROM fault ORDER BY name OFFSET floor(random() * (SELECT count(*) FROM fault)) LIMIT 1;
                TRUNCATE good_day;
                INSERT INTO good_day SELECT * FROM reading WHERE ts >= day;
                EXECUTE f.how USING day, size;
            END IF;
            ANALYZE reading;
            INSERT INTO verdict
            SELECT day, f.name, size, j.number, r.status, r.observed
            FROM judge j, weir.try_check('reading', j.kind, j.params || CASE WHEN j.kind IN ('volume', 'anomaly', 'drift')
                    THEN jsonb_build_object('as_of', day + interval '1 day') ELSE '{}' END,
                filter => format('ts >= %L', day + interval '1 day' - j.since), mostly => j.mostly) r;
            IF f.name IS NOT NULL AND NOT keep THEN
                DELETE FROM reading WHERE ts >= day;
                INSERT INTO reading SELECT * FROM good_day;
            END IF;
            DELETE FROM reading WHERE ts < day - interval '14 days';
        END IF;
        day := day + interval '1 day';
        COMMIT;
    END LOOP;
END
$$;
CALL live(:days, :'keep');

\echo seed :seed, :days days, with faults that stay: :keep
SELECT coalesce(fault, '(no fault)') AS fault, count(DISTINCT day) AS days, f.size
FROM verdict v LEFT JOIN fault f ON f.name = v.fault GROUP BY v.fault, f.size ORDER BY v.fault NULLS FIRST;

CREATE VIEW score AS
SELECT j.number, j.name, j.finds, count(*) FILTER (WHERE to_find) AS days, count(*) FILTER (WHERE to_find AND alarm) AS found,
       count(*) FILTER (WHERE other) AS other_days, count(*) FILTER (WHERE other AND alarm) AS false_alarms
FROM judge j
JOIN verdict v ON v.judge = j.number,
     LATERAL (SELECT coalesce(v.fault = ANY (j.finds), false) AS to_find,
                     coalesce(v.fault <> ALL (j.finds || j.may), true) AS other, v.status IN ('fail', 'error') AS alarm) x
GROUP BY j.number, j.name, j.finds;
SELECT name AS check, array_to_string(finds, ', ') AS finds, days, found, other_days, false_alarms,
       round(1.0 * found / nullif(found + false_alarms, 0), 3) AS precision, round(1.0 * found / nullif(days, 0), 3) AS recall
FROM score ORDER BY number;
\echo what was missed, by size of the fault (0 to 1)
SELECT j.name AS check, v.fault, count(*) AS missed, round(min(v.size)::numeric, 2) AS smallest, round(max(v.size)::numeric, 2) AS greatest
FROM verdict v JOIN judge j ON j.number = v.judge AND v.fault = ANY (j.finds)
WHERE v.status NOT IN ('fail', 'error') GROUP BY j.number, j.name, v.fault ORDER BY j.number, v.fault;
SELECT count(*) AS checks, count(*) FILTER (WHERE status = 'error') AS errors, count(*) FILTER (WHERE status = 'skipped') AS skipped FROM verdict;

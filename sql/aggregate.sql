-- Continuous aggregates: views that always show what a query over a stream gives.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

SELECT weir.create_stream('readings', 'sensor int, temp numeric, ts timestamptz', event_time => 'ts', partitions => 2);
-- One event for each time given, in seconds of a day; the temperature is its number.
CREATE FUNCTION s(float8) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT '2026-01-01Z'::timestamptz + $1 * interval '1 s' $$;
CREATE FUNCTION send(stream regclass, times float8[], partition int DEFAULT 0, sensor int DEFAULT 1) RETURNS bigint LANGUAGE sql AS $$
    SELECT accepted FROM weir.ingest($1,
        (SELECT array_agg(jsonb_build_object('sensor', $4, 'temp', i, 'ts', s(t)) ORDER BY i) FROM unnest($2) WITH ORDINALITY u (t, i)),
        partition => $3)
$$;
-- What a view shows, windows in seconds of the day.
CREATE FUNCTION w(timestamptz, timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT format('[%s, %s)', extract(epoch FROM $1 - s(0))::float8, extract(epoch FROM $2 - s(0))::float8)
$$;

-- An average a minute for each sensor.
SELECT weir.create_continuous_aggregate('sensor_1m',
    'SELECT sensor, count(*), avg(temp)::numeric(10,2) AS temp FROM readings GROUP BY sensor',
    weir.tumble('1 minute'));
SELECT send('readings', '{1, 2, 30, 59.999999, 60}');
SELECT send('readings', '{1, 61}', sensor => 2, partition => 1);
SELECT * FROM sensor_1m ORDER BY window_start, sensor;
-- Windows are final once the watermark of all partitions has passed their end;
-- then they are in a table of their own.
SELECT send('readings', '{120}', partition => 1);
SELECT * FROM sensor_1m ORDER BY window_start, sensor;
SELECT window_start, window_end, sensor, count, temp FROM sensor_1m_results ORDER BY window_start, sensor;
SELECT send('readings', '{121}');
SELECT * FROM sensor_1m ORDER BY window_start, sensor;
-- What comes later is staged, and logged; the window stays as it is.
SELECT send('readings', '{59, 122}');
SELECT count(*) FROM readings WHERE ts = s(59);
SELECT stream, aggregate, partition, kafka_offset, window_start, window_end FROM weir.late_events;
SELECT * FROM sensor_1m WHERE window_start = s(0) ORDER BY sensor;
-- Conditions on the window reach the key of the results and the open windows;
-- with all columns of GROUP BY given one group is looked up.
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        RETURN NEXT regexp_replace(line, 'aggregate_\d+', 'aggregate_N');
    END LOOP;
END
$$;
BEGIN;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT plan('SELECT * FROM sensor_1m WHERE sensor = 1 AND window_start >= s(60)');
SELECT plan('SELECT * FROM sensor_1m WHERE window_start = s(60)');
SELECT plan('SELECT * FROM sensor_1m WHERE s(0) < window_start AND sensor > 1');
SELECT * FROM sensor_1m WHERE sensor = (SELECT 1) AND window_start >= s(60) ORDER BY window_start;
SELECT * FROM sensor_1m WHERE sensor = 2 AND window_start < s(60);
CREATE INDEX ON sensor_1m_results (sensor, window_start);
SELECT plan('SELECT * FROM sensor_1m WHERE sensor = 1 AND window_start >= s(60)');
ROLLBACK;
DROP FUNCTION plan;
-- A crash would take the closed windows away.
\set SHOW_CONTEXT never
ALTER TABLE sensor_1m_results SET UNLOGGED;
\set SHOW_CONTEXT errors
-- Running totals have no windows, and nothing is late for them.
SELECT weir.create_continuous_aggregate('totals', 'SELECT count(*), max(temp) FROM readings');
SELECT * FROM totals;
SELECT send('readings', '{0, 123}');
SELECT * FROM totals;
SELECT weir.create_continuous_aggregate('totals', 'SELECT 1', if_not_exists => true);
SELECT weir.create_continuous_aggregate('totals', 'SELECT 1');
SELECT weir.create_continuous_aggregate('readings', 'SELECT 1', if_not_exists => true);
SELECT weir.drop('totals');
SELECT weir.drop('readings');
SELECT weir.drop(NULL);
DROP VIEW sensor_1m;
SELECT relname FROM pg_class WHERE relname LIKE 'sensor_1m%' OR relname LIKE 'aggregate\__\_%';
SELECT tgname FROM pg_trigger WHERE tgrelid = 'readings'::regclass AND tgname LIKE 'weir_aggregate%';
SELECT count(*) FROM weir.late_events;
DROP TABLE readings;

--
-- Cases of other engines, as numbers
--
--
SET client_min_messages = warning;
CREATE FUNCTION fresh(name text, out_of_orderness interval DEFAULT '0', partitions int DEFAULT 1) RETURNS void LANGUAGE sql AS $$
    SELECT weir.create_stream(name, 'sensor int, temp numeric, ts timestamptz', event_time => 'ts',
        max_out_of_orderness => out_of_orderness, partitions => fresh.partitions)
$$;

-- tumble and hop
SELECT fresh('c1', '10 minutes');
SELECT weir.create_continuous_aggregate('c1_tumble', 'SELECT sum(temp) FROM c1', weir.tumble('10 minutes'));
SELECT weir.create_continuous_aggregate('c1_hop', 'SELECT sum(temp) FROM c1', weir.hop('10 minutes', '5 minutes'));
SELECT accepted FROM weir.ingest('c1', ARRAY['{"temp": 4, "ts": "2026-01-01T08:05:00Z"}', '{"temp": 2, "ts": "2026-01-01T08:07:00Z"}',
    '{"temp": 5, "ts": "2026-01-01T08:09:00Z"}', '{"temp": 3, "ts": "2026-01-01T08:11:00Z"}',
    '{"temp": 1, "ts": "2026-01-01T08:13:00Z"}', '{"temp": 6, "ts": "2026-01-01T08:17:00Z"}']);
SELECT window_start::time, window_end::time, sum, is_final FROM c1_tumble ORDER BY 1;
SELECT window_start::time, window_end::time, sum, is_final FROM c1_hop ORDER BY 1;
-- one pane for each cut, whatever the ratio of size and slide
SELECT weir.create_continuous_aggregate('c1_odd', 'SELECT sum(temp) FROM c1', weir.hop('7 minutes', '3 minutes'));
SELECT window_start::time, window_end::time, sum FROM c1_odd ORDER BY 1;
-- gaps between windows
SELECT weir.create_continuous_aggregate('c1_gaps', 'SELECT sum(temp) FROM c1', weir.hop('1 minute', '6 minutes'));
SELECT window_start::time, window_end::time, sum FROM c1_gaps ORDER BY 1;
DROP TABLE c1 CASCADE;

-- the watermark closes a window to the tick
SELECT fresh('c2', '4 s');
SELECT weir.create_continuous_aggregate('c2_10s', 'SELECT count(*) FROM c2', weir.tumble('10 s'));
SELECT send('c2', '{5, 13.999}');
SELECT w(window_start, window_end), count, is_final FROM c2_10s ORDER BY window_start;
SELECT send('c2', '{14}');
SELECT w(window_start, window_end), count, is_final FROM c2_10s ORDER BY window_start;
DROP TABLE c2 CASCADE;

-- allowed lateness, to the tick
SELECT fresh('c3');
SELECT weir.create_continuous_aggregate('c3_30s', 'SELECT count(*) FROM c3', weir.tumble('30 s'), allowed_lateness => '60 s');
SELECT send('c3', '{10, 89.999, 10.009}');
SELECT w(window_start, window_end), count, is_final FROM c3_30s ORDER BY window_start;
SELECT send('c3', '{90, 10.010}');
SELECT w(window_start, window_end), count, is_final FROM c3_30s ORDER BY window_start;
SELECT kafka_offset, w(window_start, window_end) FROM weir.late_events;
DROP TABLE c3 CASCADE;

-- sessions: exactly the gap apart is together
SELECT fresh('c4');
SELECT weir.create_continuous_aggregate('c4_session', 'SELECT sensor, count(*) FROM c4 GROUP BY sensor', weir.session('30 s'));
SELECT send('c4', '{0}', sensor => 1), send('c4', '{0}', sensor => 2), send('c4', '{30}', sensor => 1), send('c4', '{30.001}', sensor => 2);
SELECT sensor, w(window_start, window_end), count, is_final FROM c4_session ORDER BY sensor, window_start;
SELECT send('c4', '{1000}', sensor => 3);
SELECT sensor, w(window_start, window_end), count, is_final FROM c4_session ORDER BY sensor, window_start;
DROP TABLE c4 CASCADE;

-- an event that bridges two sessions, before and after they were folded
SELECT fresh('c5', '26 s');
SELECT weir.create_continuous_aggregate('c5_session', 'SELECT count(*), sum(temp), array_length(string_to_array(min(temp) || '','' || max(temp), '',''), 1) FROM c5', weir.session('30 s'));
SELECT send('c5', '{0, 50}');
SELECT w(window_start, window_end), count, sum, is_final FROM c5_session ORDER BY window_start;
SELECT send('c5', '{25}');
SELECT w(window_start, window_end), count, sum, is_final FROM c5_session ORDER BY window_start;
DROP TABLE c5 CASCADE;

-- behind the watermark, but the window is open
SELECT fresh('c6');
SELECT weir.create_continuous_aggregate('c6_10s', 'SELECT count(*) FROM c6', weir.tumble('10 s'));
SELECT send('c6', '{8, 3}');
SELECT w(window_start, window_end), count, is_final FROM c6_10s;
DROP TABLE c6 CASCADE;

-- two partitions: the slower one holds windows open, lateness is each one's own
SELECT fresh('c7', partitions => 2);
SELECT weir.create_continuous_aggregate('c7_10s', 'SELECT count(*) FROM c7', weir.tumble('10 s'));
SELECT send('c7', '{25}', 0), send('c7', '{5}', 1);
SELECT w(window_start, window_end), count, is_final FROM c7_10s ORDER BY window_start;
SELECT send('c7', '{3}', 0);
SELECT send('c7', '{12}', 1);
SELECT w(window_start, window_end), count, is_final FROM c7_10s ORDER BY window_start;
SELECT partition, kafka_offset, w(window_start, window_end) FROM weir.late_events;
DROP TABLE c7 CASCADE;

-- long ago, and days of 23 and 25 hours
SELECT fresh('c8');
SELECT weir.create_continuous_aggregate('c8_day', 'SELECT count(*) FROM c8', weir.tumble('1 day', timezone => 'America/Los_Angeles'));
SELECT weir.create_continuous_aggregate('c8_10s', 'SELECT count(*) FROM c8', weir.tumble('10 s'));
SELECT accepted FROM weir.ingest('c8', ARRAY['{"ts": "0044-03-15T12:00:00Z"}', '{"ts": "1969-12-31T23:59:59Z"}', '{"ts": "1999-12-31T23:59:59.999999Z"}',
    '{"ts": "2021-03-14T08:00:00Z"}', '{"ts": "2021-03-15T06:59:59Z"}', '{"ts": "2021-11-07T07:00:00Z"}', '{"ts": "2021-11-08T07:59:59Z"}']);
SELECT window_start, window_end, window_end - window_start AS length, count FROM c8_day ORDER BY 1;
SELECT window_start, window_end, count FROM c8_10s ORDER BY 1;
DROP TABLE c8 CASCADE;

-- late for some windows of a hop
SELECT fresh('c9');
SELECT weir.create_continuous_aggregate('c9_hop', 'SELECT count(*) FROM c9', weir.hop('10 s', '5 s'));
SELECT send('c9', '{1, 16, 8}');
SELECT w(window_start, window_end), count, is_final FROM c9_hop ORDER BY window_start;
SELECT kafka_offset, w(window_start, window_end) FROM weir.late_events ORDER BY 1, window_start;
SELECT send('c9', '{14}');
SELECT w(window_start, window_end), count, is_final FROM c9_hop ORDER BY window_start;
SELECT kafka_offset, w(window_start, window_end) FROM weir.late_events ORDER BY 1, window_start;
DROP TABLE c9 CASCADE;

-- times that move nothing
SELECT fresh('c10');
SELECT weir.create_continuous_aggregate('c10_10s', 'SELECT count(*) FROM c10', weir.tumble('10 s'));
SELECT send('c10', '{5}');
SELECT accepted, dead_lettered FROM weir.ingest('c10', ARRAY['{"ts": null}', '{"ts": "infinity"}', '{"ts": "-infinity"}',
    jsonb_build_object('ts', now() + interval '25 hours')::text]);
SELECT w(window_start, window_end), count, is_final FROM c10_10s;
SELECT message FROM weir.dead_letters WHERE stream = 'c10' ORDER BY kafka_offset;
DROP TABLE c10 CASCADE;

-- a partition without any event
SELECT fresh('c11', partitions => 2);
SELECT weir.create_continuous_aggregate('c11_10s', 'SELECT count(*) FROM c11', weir.tumble('10 s'));
SELECT send('c11', '{5, 12}', 0);
SELECT w(window_start, window_end), count, is_final FROM c11_10s ORDER BY window_start;
SELECT send('c11', '{7}', 1);
SELECT w(window_start, window_end), count, is_final FROM c11_10s ORDER BY window_start;
DROP TABLE c11 CASCADE;

-- staging begins after 12:20
SELECT fresh('c13');
SELECT send('c13', ARRAY[12 * 3600, 12 * 3600 + 19 * 60]);
UPDATE weir_internal.chunk SET created_at = created_at - interval '8 minutes' WHERE stream = 'c13'::regclass;
SELECT send('c13', ARRAY[12 * 3600 + 20 * 60]);
SELECT send('c13', ARRAY[12 * 3600 + 50 * 60]);
UPDATE weir_internal.chunk SET created_at = created_at - interval '62 minutes', closed_at = closed_at - interval '62 minutes'
    WHERE stream = 'c13'::regclass AND closed_at IS NOT NULL;
SELECT send('c13', ARRAY[12 * 3600 + 50 * 60]);
SELECT ts::time FROM c13 ORDER BY _offset;
SELECT weir.create_continuous_aggregate('c13_1h', 'SELECT count(*) FROM c13', weir.tumble('1 hour'));
SELECT weir.create_continuous_aggregate('c13_session', 'SELECT count(*) FROM c13', weir.session('1 minute'));
SELECT weir.create_continuous_aggregate('c13_now', 'SELECT count(*) FROM c13', weir.tumble('1 hour'), backfill => false);
SELECT weir.create_continuous_aggregate('c13_all', 'SELECT count(*) FROM c13');
SELECT weir.create_continuous_aggregate('c13_all', 'SELECT count(*) FROM c13', backfill => false);
SELECT send('c13', ARRAY[12 * 3600 + 59 * 60, 13 * 3600, 14 * 3600]);
SELECT window_start::time, window_end::time, count, is_final FROM c13_1h ORDER BY 1;
SELECT window_start::time, window_end::time, count, is_final FROM c13_session ORDER BY 1;
SELECT window_start::time, window_end::time, count, is_final FROM c13_now ORDER BY 1;
SELECT * FROM c13_all;
DROP TABLE c13 CASCADE;
DROP FUNCTION s, send(regclass, float8[], int, int), w, fresh;

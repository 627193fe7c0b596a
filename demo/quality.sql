-- Data quality: a fortnight of readings, faults planted in its last day, and
-- what expectations, checks and alerts say about them.  Run by demo/quality;
-- runs in any database with the extension, too.  :plant names the faults that
-- are planted, separated by blanks ("none": none); all of them if it is not set.
--
-- It ends with an error if a fault is missed, or anything else is found.

\set ON_ERROR_STOP on
\pset footer off
\pset linestyle ascii
SET client_min_messages = warning;
SET TimeZone = 'UTC';
DROP SCHEMA IF EXISTS quality_demo CASCADE;
CREATE SCHEMA quality_demo;
SET search_path = quality_demo;

-- ---- what a careful owner has set up ----

SELECT weir.create_stream('readings',
    'event_id bigint NOT NULL, sensor int NOT NULL, temp float8, humidity float8, unit text, ts timestamptz NOT NULL',
    event_time => 'ts') \g /dev/null
CREATE INDEX ON readings (ts);

-- Each event on its way in.
SELECT weir.expect('readings', 'unit_sent', weir.not_null('unit'), 'keep'),
       weir.expect('readings', 'in_time', weir.event_time_bounds('ts', '2 hours', '1 hour', '_timestamp'), 'keep') \g /dev/null

-- The table, once a day: here after 14 March.
SELECT weir.create_check('complete', 'readings', 'completeness', '{"column": "temp"}', mostly => 0.98,
           filter => $$ts >= '2026-03-14'$$),
       weir.create_check('unique', 'readings', 'unique', '{"columns": ["event_id"]}'),
       weir.create_check('columns', 'readings', 'schema_changes'),
       weir.create_check('fields', 'readings', 'custom_sql',
           '{"sql": "SELECT DISTINCT jsonb_object_keys(_extra) AS field FROM readings"}'),
       weir.create_check('volume', 'readings', 'volume',
           '{"column": "ts", "drop": 20, "spike": 50, "against": "same_hour", "as_of": "2026-03-15"}') \g /dev/null
SELECT weir.create_check('drift_' || sensor, 'readings', 'drift',
           '{"column": "temp", "timestamp_column": "ts", "as_of": "2026-03-15"}', filter => 'sensor = ' || sensor)
FROM generate_series(1, 10) sensor \g /dev/null

-- What somebody must know at once.
SELECT weir.create_alert('hot_sensor', 'SELECT sensor, temp FROM readings WHERE temp > 60',
    key => 'sensor', message => 'sensor {sensor} is at {temp} degrees', severity => 'critical') \g /dev/null

-- ---- the readings ----

-- Ten sensors; every five minutes by day, every ten by night.  Now and then one
-- is lost, or has no temperature: that is no fault.
SELECT setseed(0.5) \g /dev/null
CREATE TEMP TABLE event AS
SELECT at AS arrives, sensor, jsonb_build_object('event_id', row_number() OVER (), 'sensor', sensor,
           'temp', CASE WHEN random() > 0.005 THEN round((20 + sensor / 5.0 + 4 * sin(extract(epoch FROM at) * pi() / 43200)
               + random() + random() + random() - 1.5)::numeric, 2) END,
           'humidity', round((40 + 10 * random())::numeric, 1), 'unit', 'C', 'ts', at) AS payload
FROM generate_series(timestamptz '2026-03-01', '2026-03-14 23:59', '5 minutes') at, generate_series(1, 10) sensor
WHERE (extract(hour FROM at) BETWEEN 6 AND 21 OR extract(minute FROM at)::int % 10 = 0) AND random() > 0.01;

-- Each fault is a change of the last day's events (or of the table), and has
-- those that ought to see it.
CREATE TEMP TABLE fault (number int, name text, planted text, how text, seen_by text[], events bigint);
INSERT INTO fault VALUES
    (1, 'nulls', 'one temperature in ten is missing',
        $$UPDATE event SET payload = payload || '{"temp": null}' WHERE arrives >= '2026-03-14' AND random() < 0.1$$,
        '{check complete}'),
    (2, 'duplicates', 'events of 18:00 to 18:15 are sent twice',
        $$INSERT INTO event SELECT arrives + interval '10 minutes', sensor, payload FROM event
          WHERE arrives BETWEEN '2026-03-14 18:00' AND '2026-03-14 18:15'$$,
        '{check unique}'),
    (3, 'renamed_field', 'from 09:00 to 12:00 half of the sensors say "units" for "unit"',
        $$UPDATE event SET payload = payload - 'unit' || jsonb_build_object('units', payload->'unit')
          WHERE arrives BETWEEN '2026-03-14 09:00' AND '2026-03-14 12:00' AND sensor <= 5$$,
        '{check fields,expectation unit_sent}'),
    (4, 'changed_type', 'from 13:00 to 15:00 half of the sensors send humidity as "47 %"',
        $$UPDATE event SET payload = payload || jsonb_build_object('humidity', (payload->>'humidity') || ' %')
          WHERE arrives BETWEEN '2026-03-14 13:00' AND '2026-03-14 15:00' AND sensor > 5$$,
        '{alert dead_letters}'),
    (5, 'changed_table', 'somebody adds a column to the table',
        'ALTER TABLE readings ADD COLUMN firmware text',
        '{check columns}'),
    (6, 'volume_drop', 'half of the events after 23:00 are lost',
        $$DELETE FROM event WHERE arrives >= '2026-03-14 23:00' AND random() < 0.5$$,
        '{check volume}'),
    (7, 'drift', 'sensor 7 drifts by 5 degrees in the course of the day',
        $$UPDATE event SET payload = payload || jsonb_build_object('temp', (payload->>'temp')::float8
              + 5 * extract(epoch FROM arrives - '2026-03-14') / 86400)
          WHERE arrives >= '2026-03-14' AND sensor = 7$$,
        '{check drift_7}'),
    (8, 'overheating', 'sensor 3 is at 95 degrees for a quarter of an hour',
        $$UPDATE event SET payload = payload || '{"temp": 95}'
          WHERE arrives BETWEEN '2026-03-14 16:00' AND '2026-03-14 16:14' AND sensor = 3$$,
        '{alert hot_sensor/3}'),
    (9, 'late', 'sensor 5 keeps what it reads from 02:00 to 05:00 for five hours',
        $$UPDATE event SET arrives = arrives + interval '5 hours'
          WHERE arrives BETWEEN '2026-03-14 02:00' AND '2026-03-14 05:00' AND sensor = 5$$,
        '{expectation in_time}');
\if :{?plant}
    SELECT count(*) > 0 AS unknown
    FROM unnest(string_to_array(:'plant', ' ')) name WHERE name NOT IN (SELECT name FROM fault UNION VALUES ('none')) \gset
    \if :unknown
        SELECT string_agg(name, ', ' ORDER BY number) AS names FROM fault \gset
        \warn the faults are :names
        DO $$ BEGIN RAISE 'there is no such fault'; END $$;
    \endif
    DELETE FROM fault WHERE name <> ALL (string_to_array(:'plant', ' '));
\endif

CREATE PROCEDURE pg_temp.send(since timestamptz, before timestamptz) LANGUAGE sql AS $$
    SELECT sum(i.accepted)
    FROM (SELECT date_trunc('hour', arrives) AS hour, array_agg(payload ORDER BY arrives) AS payloads
          FROM event WHERE arrives >= since AND arrives < before GROUP BY 1 ORDER BY 1 OFFSET 0) h,
         weir.ingest('readings', h.payloads, kafka_timestamp => h.hour + interval '1 hour') i
$$;

-- Thirteen good days; nothing is wrong so far.
CALL pg_temp.send('2026-03-01', '2026-03-14');
SELECT weir.evaluate_alerts() \g /dev/null
SELECT coalesce(max(id), 0) AS seen FROM weir.alerts \gset

-- The fourteenth.
DO $$
DECLARE
    f fault;
BEGIN
    FOR f IN SELECT * FROM fault ORDER BY number LOOP
        EXECUTE f.how;
        GET DIAGNOSTICS f.events = ROW_COUNT;
        UPDATE fault SET events = f.events WHERE number = f.number;
    END LOOP;
END
$$;
CALL pg_temp.send('2026-03-14', '2026-03-15');

-- ---- what is found ----

SELECT count(*) AS checks FROM weir.run_checks(target => 'readings') \gset
SELECT weir.evaluate_alerts() \g /dev/null

\echo
\echo THE CHECKS (weir.check_results): those that do not pass
SELECT check_name, kind, status, observed, expected, failed_rows, left(sample::text, 40) AS sample
FROM weir.check_results WHERE target = 'readings'::regclass AND status <> 'pass' ORDER BY check_name;
\echo THE EXPECTATIONS (weir.expectation_stats)
SELECT name, on_violation, passed, failed FROM weir.expectation_stats
WHERE stream_schema = 'quality_demo' ORDER BY 1;
\echo THE ALERTS (weir.alerts)
SELECT source, what, severity, count, message FROM weir.alerts WHERE id > :seen ORDER BY source, what;
\echo THE SCORE (weir.quality)
SELECT target, checks, passed, failed, score FROM weir.quality WHERE target = 'readings'::regclass;

-- A check that fails has an alert, too: it counts once, but both must be there.
CREATE TEMP TABLE found AS
SELECT 'check ' || r.check_name AS by, concat_ws(', ', r.observed, r.failed_rows || ' rows') AS says
FROM weir.check_results r
JOIN weir.alerts a ON a.id > :seen AND a.source = 'check' AND a.what = r.check_name AND a.resolved_at IS NULL
WHERE r.target = 'readings'::regclass AND r.status <> 'pass'
UNION ALL
SELECT 'check ' || coalesce(r.check_name, a.what), CASE WHEN a.id IS NULL THEN 'no alert' ELSE 'alert without cause' END
FROM (SELECT * FROM weir.check_results WHERE target = 'readings'::regclass AND status <> 'pass') r
FULL JOIN (SELECT * FROM weir.alerts WHERE id > :seen AND source = 'check') a ON a.what = r.check_name
WHERE a.id IS NULL OR r.check_name IS NULL
UNION ALL
SELECT 'expectation ' || name, failed || ' events' FROM weir.expectation_stats
WHERE stream_schema = 'quality_demo' AND failed > 0
UNION ALL
SELECT 'alert ' || CASE source WHEN 'alert' THEN what ELSE source END, message FROM weir.alerts WHERE id > :seen AND source <> 'check';

\echo PLANTED, AND FOUND
CREATE TEMP TABLE verdict AS
SELECT f.number, coalesce(f.name, '(none)') AS fault, f.planted, nullif(f.events, 0) AS events,
       coalesce(f.seen_by, s.by) AS found_by, s.says,
       CASE WHEN s.by IS NULL THEN 'MISSED' WHEN f.name IS NULL OR s.says IN ('no alert', 'alert without cause') THEN 'UNEXPECTED' ELSE 'found' END AS verdict
FROM (SELECT number, name, planted, events, unnest(seen_by) AS seen_by FROM fault) f
FULL JOIN found s ON s.by = f.seen_by;
SELECT fault, planted, events, found_by, says, verdict FROM verdict ORDER BY number, found_by;

SELECT count(DISTINCT fault) FILTER (WHERE number IS NOT NULL) AS planted,
       (SELECT count(*) FROM fault f WHERE NOT EXISTS (SELECT FROM verdict v WHERE v.number = f.number AND v.verdict <> 'found')) AS found,
       count(*) FILTER (WHERE verdict = 'UNEXPECTED') AS unexpected,
       count(*) FILTER (WHERE verdict <> 'found') > 0 AS wrong
FROM verdict \gset
\echo :checks checks, :planted faults planted, :found found, :unexpected unexpected
\if :wrong
    DO $$ BEGIN RAISE 'what was found is not what was planted'; END $$;
\endif

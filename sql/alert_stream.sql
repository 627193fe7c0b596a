-- Alerts over streams: of users, and of streams themselves.
\set VERBOSITY terse
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA als;
SET search_path = als;
CREATE ROLE al_owner;
CREATE ROLE al_other;
GRANT ALL ON SCHEMA als TO al_owner;
GRANT USAGE ON SCHEMA als TO al_other;
CREATE TABLE limits (device text, high float8);
INSERT INTO limits VALUES ('a', 100), ('b', 50);
GRANT SELECT ON limits TO al_owner;

SET ROLE al_owner;
SELECT weir.create_stream('s', 'device text, temp float8, note text');
CREATE FUNCTION put(VARIADIC rows text[]) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s accepted, %s dead', accepted, dead_lettered) FROM weir.ingest('s', rows)
$$;
CREATE VIEW open AS SELECT what, severity, message, count, detail FROM weir.alerts WHERE resolved_at IS NULL;
ALTER VIEW open SET (security_invoker = true);

-- What cannot be one.
SELECT weir.create_alert('hot', 'SELECT temp FROM s', key => 'device');
SELECT weir.create_alert('hot', 'SELECT temp FROM s', message => '{device} is hot');
SELECT weir.create_alert('hot', 'SELECT count(*) FROM s');
SELECT weir.create_alert('hot', 'SELECT 1 FROM limits');
SELECT weir.create_alert('hot', 'DELETE FROM s');
SELECT weir.create_alert('hot', 'SELECT temp FROM s', severity => 'bad');
SELECT weir.create_alert('hot', NULL);

-- A row for each device that is above its limit: 100 is silent, 100.1 is not.
SELECT weir.create_alert('hot', 'SELECT s.device, s.temp, s.note FROM s JOIN limits l USING (device) WHERE s.temp > l.high',
    key => 'device', message => '{device} is at {temp} °C, {{why}}: {note}');
SELECT weir.create_alert('hot', 'SELECT 1 FROM s');
SELECT weir.create_alert('any', 'SELECT device FROM s WHERE temp > 1000', severity => 'warn');
SELECT put('{"device": "a", "temp": 100}', '{"device": "b", "temp": 50}');
SELECT * FROM open;
SELECT put('{"device": "a", "temp": 100.1}', '{"device": "a", "temp": 101, "note": "''x''; \\"}', '{"device": "b", "temp": 60}', '{"device": "c", "temp": 999}');
SELECT * FROM open ORDER BY what;
SELECT put('{"device": "a", "temp": 2000}', '{"device": "c", "temp": 2000}');
SELECT * FROM open ORDER BY what;
-- what is rolled back was not
BEGIN;
SELECT put('{"device": "b", "temp": 2000}');
ROLLBACK;
SELECT what, count FROM open ORDER BY what;

-- The query's errors are an event's: others go on.
SELECT weir.create_alert('ratio', 'SELECT device FROM s WHERE 1 / temp > 100');
SELECT put('{"device": "x", "temp": 0}', '{"device": "x", "temp": 0.001}', '{"device": "x", "temp": 1}');
SELECT what, count FROM open WHERE what = 'ratio';
SELECT error_stage, sqlstate, message, object_name FROM weir.dead_letters;

-- Others see and do nothing.
SET ROLE al_other;
SELECT count(*) FROM weir.alerts;
SELECT weir.drop_alert('hot');
SELECT weir.create_alert('theirs', 'SELECT device FROM als.s');
SET ROLE al_owner;

-- Resolved by hand or with time; the next one is another.
SELECT weir.resolve_alert(id) FROM weir.alerts WHERE what = 'hot/a';
SELECT weir.create_alert('once', 'SELECT device FROM s WHERE note = ''once''', resolve_after => '1 hour');
SELECT put('{"device": "a", "temp": 101, "note": "once"}');
RESET ROLE;
UPDATE weir_internal.alert SET last_seen = last_seen - interval '2 hours';
SET ROLE al_owner;
SELECT put('{"device": "a", "note": "once"}');
SELECT what, count, resolved_at IS NOT NULL AS resolved FROM weir.alerts WHERE what IN ('hot/a', 'once') ORDER BY what, id;
RESET ROLE;
UPDATE weir_internal.alert SET last_seen = last_seen - interval '2 hours';
SET ROLE al_owner;
SELECT weir.evaluate_alerts();
SELECT what FROM open ORDER BY what;

-- Streams and columns are renamed, columns are added: the alert stays the same.
ALTER TABLE s RENAME TO renamed;
ALTER TABLE renamed RENAME COLUMN temp TO temperature;
ALTER TABLE renamed RENAME COLUMN device TO machine;
ALTER TABLE renamed ADD COLUMN more int;
SELECT accepted FROM weir.ingest('renamed', '{"machine": "a", "temperature": 105, "note": "new"}'::text);
SELECT what, message, count, detail FROM open WHERE what = 'hot/a';
ALTER TABLE renamed DROP COLUMN temperature;
ALTER TABLE renamed RENAME COLUMN temperature TO temp;
ALTER TABLE renamed RENAME COLUMN machine TO device;
ALTER TABLE renamed RENAME TO s;

-- The stream's new owner sees and does what the former one did, and queries run with his rights.
RESET ROLE;
ALTER TABLE s OWNER TO al_other;
GRANT CREATE ON SCHEMA als TO al_other;
SELECT count(*) FROM weir.alerts a WHERE resolved_at IS NULL;
SET ROLE al_owner;
SELECT count(*) FROM weir.alerts;
SELECT weir.drop_alert('hot');
SET ROLE al_other;
SELECT count(*) FROM weir.alerts WHERE resolved_at IS NULL;
SELECT accepted, dead_lettered FROM weir.ingest('als.s', '{"device": "a", "temp": 106}'::text);
RESET ROLE;
GRANT SELECT ON limits TO al_other;
SET ROLE al_other;
SELECT accepted, dead_lettered FROM weir.ingest('als.s', '{"device": "a", "temp": 106}'::text);
SELECT what, message FROM weir.alerts WHERE what = 'hot/a' AND resolved_at IS NULL;
SELECT weir.acknowledge_alert(id), weir.resolve_alert(id) FROM weir.alerts WHERE what = 'hot/b';
SELECT acknowledged_by, resolved_at IS NOT NULL AS resolved FROM weir.alerts WHERE what = 'hot/b';
RESET ROLE;
UPDATE weir_internal.alert SET resolved_at = resolved_at - interval '1 year' WHERE key = 'hot/b';
SET ROLE al_owner;
SELECT weir.purge_alerts();
SET ROLE al_other;
SELECT weir.purge_alerts();
RESET ROLE;
ALTER TABLE s OWNER TO al_owner;
SET ROLE al_owner;

-- Dropped.
SELECT weir.drop_alert('hot');
SELECT weir.drop_alert('hot');
SELECT put('{"device": "a", "temp": 101}');
SELECT what FROM open ORDER BY what;
SELECT tgname ~ '^weir_alert' AS alert, count(*) FROM pg_trigger WHERE tgrelid = 's'::regclass AND tgname ~ '^weir_alert' GROUP BY 1;
DROP TABLE s;
DROP TABLE s CASCADE;
RESET ROLE;
SELECT count(*) FROM weir_internal.alert_definition;
SELECT count(*) FROM weir.alerts;

-- What streams raise themselves, by the rules.  A stream that nobody reads, with numbers put in by hand.
CREATE SERVER al_kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" 'localhost:1');
SELECT weir.create_stream('k', 'id int', server => 'al_kafka', topic => 't');
CREATE VIEW alerts AS SELECT source, what, severity, message, count, resolved_at IS NOT NULL AS resolved
FROM weir.alerts ORDER BY source COLLATE "C", id;
CREATE FUNCTION now_at(lag bigint, seconds int, consumed bigint DEFAULT 1000, dead bigint DEFAULT 0) RETURNS int LANGUAGE sql AS $$
    DELETE FROM weir_internal.stream_partition WHERE stream = 'k'::regclass;
    INSERT INTO weir_internal.stream_partition (stream, partition, applied_offset, end_offset, last_timestamp, consumed, dead_lettered, staged)
    VALUES ('k', 0, consumed, consumed + lag, clock_timestamp() - seconds * interval '1 second', consumed, dead, consumed - dead);
    SELECT weir.evaluate_alerts()
$$;
SELECT now_at(0, 0);
SELECT now_at(10000, 5);
SELECT now_at(10001, 5);
SELECT now_at(5, 61);
SELECT now_at(5, 62);
SELECT * FROM alerts;
SELECT now_at(0, 0);
SELECT * FROM alerts;
TRUNCATE weir_internal.alert, weir_internal.stream_sample;

-- a stream that is renamed has no alert of its former name
SELECT now_at(10001, 5);
ALTER TABLE k RENAME TO l;
SELECT weir.evaluate_alerts();
SELECT * FROM alerts;
ALTER TABLE l RENAME TO k;
TRUNCATE weir_internal.alert, weir_internal.stream_sample;

-- dead letters: 1 % is the limit
INSERT INTO weir_internal.stream_sample VALUES ('k', clock_timestamp() - interval '30 minutes', 1000, 0, 1000, 0);
SELECT now_at(0, 0, 2000, 10), now_at(0, 0, 2000, 11);
SELECT * FROM alerts;
-- a stream that begins anew is not judged: what is open stays
SELECT now_at(0, 0, 10, 10);
SELECT * FROM alerts;
SELECT now_at(0, 0, 3000, 11);
SELECT * FROM alerts;
TRUNCATE weir_internal.alert, weir_internal.stream_sample;

-- volume: 1000 messages in the hour before; 810, then 790 in the last one
INSERT INTO weir_internal.stream_sample VALUES
    ('k', clock_timestamp() - interval '2 hours', 1000, 0, 1000, 0), ('k', clock_timestamp() - interval '1 hour', 2000, 0, 2000, 0);
SELECT now_at(0, 0, 2810), now_at(0, 0, 2790);
SELECT * FROM alerts;
SELECT now_at(0, 0, 2900);
SELECT * FROM alerts;
-- thresholds: a volume that is lower by just that much is too low, other values must be beyond
SELECT rule, weir_internal.judge_stream('k', rule, threshold::numeric, 'm') AS at, weir_internal.judge_stream('k', rule, threshold::numeric + 0.1, 'm') AS beyond,
    weir_internal.judge_stream('k', rule, NULL, 'm') AS unknown
FROM weir.alert_rules WHERE unit IS NOT NULL ORDER BY rule COLLATE "C";
SELECT source, count, resolved FROM alerts WHERE NOT resolved;
TRUNCATE weir_internal.alert, weir_internal.stream_sample;
-- latency: of batches of the last minute
SELECT now_at(0, 11);
SELECT source, severity, message, resolved FROM alerts;
UPDATE weir_internal.stream_partition SET updated_at = updated_at - interval '61 s', last_timestamp = last_timestamp - interval '61 s' WHERE stream = 'k'::regclass;
SELECT weir.evaluate_alerts();
SELECT source, resolved FROM alerts;
TRUNCATE weir_internal.alert, weir_internal.stream_sample;
-- stalled: only a stream that should run
TRUNCATE weir_internal.alert, weir_internal.stream_sample;
INSERT INTO weir_internal.stream_sample VALUES ('k', clock_timestamp() - interval '10 minutes', 1000, 0, 1000, 5);
SELECT now_at(5, 1);
-- nor one that had nothing to do before
BEGIN;
UPDATE weir_internal.stream_sample SET lag = 0;
UPDATE weir_internal.stream SET runs_on = (SELECT max(marked_in) FROM weir_internal.staging_marker) WHERE stream = 'k'::regclass;
SELECT now_at(5, 1);
SELECT source FROM alerts WHERE source = 'stalled';
ROLLBACK;
BEGIN;
UPDATE weir_internal.stream SET runs_on = (SELECT max(marked_in) FROM weir_internal.staging_marker) WHERE stream = 'k'::regclass;
SELECT now_at(5, 1);
SELECT * FROM alerts;
SELECT now_at(5, 1, 1001);
SELECT * FROM alerts;
ROLLBACK;
-- a rule that is off; another threshold
SELECT weir.alter_alert_rule('lag_time', enabled => false), weir.alter_alert_rule('lag_messages', threshold => 4);
SELECT now_at(5, 100, 1002);
SELECT * FROM alerts;
TRUNCATE weir_internal.alert, weir_internal.alert_rule;
DROP SCHEMA als CASCADE;
SELECT count(*) FROM weir_internal.stream_sample;
DROP SERVER al_kafka;
DROP ROLE al_owner, al_other;

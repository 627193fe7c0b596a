-- Transforms: weir.create_transform.
SET TimeZone = 'UTC';
CREATE SCHEMA tf;
SET search_path = tf;

SELECT weir.create_stream('sensors', 'sensor_id int, temp float8, humidity float8, readings jsonb, ts timestamptz',
    event_time => 'ts', partitions => 2);
CREATE TABLE devices (sensor_id int PRIMARY KEY, site text);
INSERT INTO devices VALUES (1, 'roof'), (2, 'cellar');

-- The rows of a query over each batch are appended to a table, with where they are from.
SELECT weir.create_transform('sensor_f', $$
    SELECT s.sensor_id, d.site, s.temp * 9 / 5 + 32 AS temp_f, s.ts
    FROM sensors s LEFT JOIN devices d USING (sensor_id) WHERE s.humidity > 50 $$);
\d sensor_f
SELECT * FROM weir.ingest('sensors', ARRAY[
    '{"sensor_id": 1, "temp": 20, "humidity": 60, "ts": "2026-01-01T00:00:00Z"}',
    '{"sensor_id": 2, "temp": 10, "humidity": 40, "ts": "2026-01-01T00:00:01Z"}',
    '{"sensor_id": 3, "temp": 0, "humidity": 90, "ts": "2026-01-01T00:00:02Z"}'], partition => 1);
SELECT sensor_id, site, temp_f, ts, _partition, _offset, _watermark FROM sensor_f;
-- Lookup tables are read as they are when the batch is applied.
UPDATE devices SET site = 'attic' WHERE sensor_id = 1;
SELECT accepted FROM weir.ingest('sensors', '{"sensor_id": 1, "temp": 21, "humidity": 60, "ts": "2026-01-01T00:00:03Z"}');
SELECT sensor_id, site, temp_f, _partition, _offset FROM sensor_f ORDER BY ts;

-- One event may give several rows; what staging holds is taken in first.
SELECT accepted FROM weir.ingest('sensors', ARRAY[
    '{"sensor_id": 7, "readings": [{"k": "a", "v": 1}, {"k": "b", "v": 2}], "ts": "2026-01-01T00:00:04Z"}']);
SELECT weir.create_transform('readings', $$
    SELECT s.sensor_id, r->>'k' AS k, (r->>'v')::int AS v, ts
    FROM sensors s, LATERAL jsonb_array_elements(s.readings) r $$);
SELECT accepted FROM weir.ingest('sensors', ARRAY[
    '{"sensor_id": 8, "readings": [{"k": "c", "v": 3}, {"k": "d", "v": 4}], "ts": "2026-01-01T00:00:05Z"}',
    '{"sensor_id": 9, "readings": [], "ts": "2026-01-01T00:00:05Z"}']);
SELECT sensor_id, k, v, _partition, _offset FROM readings ORDER BY _offset, k;
SELECT weir.create_transform('exploded', 'SELECT sensor_id, generate_series(1, sensor_id) AS i FROM sensors', backfill => false);
SELECT accepted FROM weir.ingest('sensors', '{"sensor_id": 2, "ts": "2026-01-01T00:00:06Z"}');
SELECT sensor_id, i, _offset FROM exploded ORDER BY i;

-- It is right, and this is how it comes about.
SELECT * FROM weir.verify('readings');
SELECT * FROM weir.verify('exploded');
-- whatever columns are called
SELECT weir.create_transform('named', 'SELECT sensor_id AS r, temp AS q FROM sensors');
UPDATE named SET q = 99 WHERE q = 21;
SELECT side, data->>'q' AS q FROM weir.verify('named') ORDER BY side;
SELECT weir.drop('named');
SELECT * FROM weir.explain('exploded');
-- sensor_f keeps the site of then
SELECT side, data->>'site' AS site, data->>'_offset' AS "offset" FROM weir.verify('sensor_f') ORDER BY side;
UPDATE devices SET site = 'roof' WHERE sensor_id = 1;
UPDATE sensor_f SET site = 'roof' WHERE site = 'attic';
SELECT side, data->>'site' AS site, data->>'_offset' AS "offset" FROM weir.verify('sensor_f') ORDER BY side;
DELETE FROM sensor_f WHERE sensor_id = 3;
SELECT side, data->>'sensor_id' AS sensor_id FROM weir.verify('sensor_f') ORDER BY side;
SELECT * FROM weir.derived ORDER BY object;

-- An event that raises an error is a dead letter, and is applied nowhere; the rest of its batch is.
SELECT weir.create_transform('shares', 'SELECT sensor_id, 100 / sensor_id AS share FROM sensors', backfill => false);
SELECT * FROM weir.ingest('sensors', ARRAY[
    '{"sensor_id": 4, "readings": [{"k": "x"}], "ts": "2026-01-01T00:00:07Z"}',
    '{"sensor_id": 0, "readings": [{"k": "y"}], "ts": "2026-01-01T00:00:07Z"}',
    '{"sensor_id": 5, "readings": [{"k": "z"}], "ts": "2026-01-01T00:00:07Z"}']);
SELECT share, _offset FROM shares ORDER BY _offset;
SELECT k FROM readings WHERE k >= 'x' ORDER BY k;
SELECT count(*) AS zeros FROM sensors WHERE sensor_id = 0;
SELECT partition, kafka_offset, error_stage, sqlstate, message, object_name FROM weir.dead_letters;
-- corrected, it is applied everywhere
SELECT * FROM weir.replay_dead_letters('sensors', transform => $$ '{"sensor_id": 50, "readings": [{"k": "y"}], "ts": "2026-01-01T00:00:07Z"}' $$);
SELECT weir.create_transform('tenths', 'SELECT 10 / (sensor_id - 50) AS tenth FROM sensors');

-- Into a table of one's own: columns by name, converted as on assignment; its defaults, identities, generated columns,
-- constraints, indexes and triggers hold.
CREATE TABLE log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sensor varchar(5) NOT NULL,
    temp numeric(5, 1) CHECK (temp < 100),
    kelvin numeric GENERATED ALWAYS AS (temp + 273.15) STORED,
    _offset bigint, _partition int,
    processed_at timestamptz DEFAULT now());
CREATE TABLE written (n bigint);
CREATE FUNCTION note_written() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO tf.written SELECT count(*) FROM new; RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT ON log REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION note_written();
SELECT weir.create_transform('log_it', $$ SELECT 'nr ' || sensor_id AS sensor, temp FROM sensors WHERE temp IS NOT NULL $$,
    into_table => 'log');
SELECT id, sensor, temp, kelvin, _partition, _offset, processed_at > now() - interval '1 day' AS recent FROM log ORDER BY id;
SELECT * FROM weir.ingest('sensors', ARRAY[
    '{"sensor_id": 6, "temp": 36.6, "ts": "2026-01-01T00:00:08Z"}',
    '{"sensor_id": 6000, "temp": 1, "ts": "2026-01-01T00:00:08Z"}',
    '{"sensor_id": 6, "temp": 100, "ts": "2026-01-01T00:00:08Z"}',
    '{"temp": 7, "ts": "2026-01-01T00:00:08Z"}']);
SELECT sensor, temp, kelvin, _offset FROM log WHERE temp > 30;
SELECT sqlstate, message, column_name, constraint_name, object_name FROM weir.dead_letters WHERE object_name = 'log' ORDER BY id;
SELECT * FROM written;
SELECT * FROM weir.verify('log');
-- A BEFORE ROW trigger has its say, and a partitioned table
CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF NEW.temp = 13 THEN RETURN NULL; END IF; NEW.temp := NEW.temp + 1; RETURN NEW; END $$;
CREATE TRIGGER leave_out BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION leave_out();
SELECT accepted FROM weir.ingest('sensors', ARRAY['{"sensor_id": 7, "temp": 13, "ts": "2026-01-01T00:00:09Z"}',
    '{"sensor_id": 7, "temp": 14, "ts": "2026-01-01T00:00:09Z"}']);
SELECT sensor, temp, kelvin FROM log WHERE sensor = 'nr 7';
DROP TRIGGER leave_out ON log;
CREATE TABLE parts (sensor_id int, ts timestamptz, _timestamp text) PARTITION BY LIST (sensor_id);
CREATE TABLE part_7 PARTITION OF parts FOR VALUES IN (7);
SELECT weir.create_transform('in_parts', 'SELECT sensor_id, ts FROM sensors WHERE sensor_id IN (7, 70)', into_table => 'parts');
SELECT tableoid::regclass, count(*) FROM parts GROUP BY 1;
SELECT dead_lettered FROM weir.ingest('sensors', '{"sensor_id": 70, "ts": "2026-01-01T00:00:09Z"}');
SELECT message, object_name FROM weir.dead_letters ORDER BY id DESC LIMIT 1;
-- What does not fit.
SELECT weir.create_transform('x', 'SELECT temp FROM sensors', into_table => 'log');
SELECT weir.drop('log');
SELECT weir.create_transform('x', 'SELECT 1 AS kelvin FROM sensors', into_table => 'log');
SELECT weir.create_transform('x', 'SELECT humidity FROM sensors', into_table => 'log');
SELECT weir.create_transform('x', 'SELECT readings AS n FROM sensors', into_table => 'written');
SELECT weir.create_transform('x', 'SELECT sensor_id AS n FROM sensors', into_table => 'sensors');
SELECT weir.create_transform('x', 'SELECT sensor_id AS n FROM sensors', into_table => 'sensor_f');
SELECT weir.create_transform('x', 'SELECT sensor_id AS n FROM sensors', into_table => 'written', retention => '1 day');
SELECT weir.create_transform('x', 'SELECT sensor_id AS n FROM sensors', into_table => 'written', event_time => 'n');
SELECT weir.create_transform('x', 'SELECT sensor_id AS n FROM sensors', into_table => 'weir.derived');
CREATE TABLE later (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
SELECT weir.create_transform('x', 'SELECT sensor_id AS n FROM sensors', into_table => 'later');
CREATE UNLOGGED TABLE unlogged (n int);
SELECT weir.create_transform('x', 'SELECT sensor_id AS n FROM sensors', into_table => 'unlogged');

-- The query is one SELECT whose rows are made of one event each.
SELECT weir.create_transform('x', 'SELECT count(*) FROM sensors');
SELECT weir.create_transform('x', 'SELECT DISTINCT sensor_id FROM sensors');
SELECT weir.create_transform('x', 'SELECT sensor_id, rank() OVER (ORDER BY ts) FROM sensors');
SELECT weir.create_transform('x', 'SELECT sensor_id FROM sensors UNION ALL SELECT 1');
SELECT weir.create_transform('x', 'SELECT sensor_id FROM sensors LIMIT 1');
SELECT weir.create_transform('x', 'SELECT sensor_id, now() FROM sensors');
SELECT weir.create_transform('x', 'SELECT * FROM sensors');
SELECT weir.create_transform('x', 'SELECT s.sensor_id FROM devices d LEFT JOIN sensors s USING (sensor_id)');
SELECT weir.create_transform('x', 'SELECT site FROM devices');
SELECT weir.create_transform('sensor_f', 'SELECT sensor_id FROM sensors');
SELECT weir.create_transform('sensor_f', 'SELECT sensor_id FROM sensors', if_not_exists => true);
SELECT weir.create_transform('devices', 'SELECT sensor_id FROM sensors', if_not_exists => true);
SELECT weir.create_transform('x', 'SELECT sensor_id FROM sensors', event_time => 'ts');
SELECT weir.create_transform('x', 'SELECT sensor_id FROM sensors', event_time => 'sensor_id');
SELECT weir.create_transform('x', 'SELECT sensor_id FROM sensors', retention => '-1 s');
SELECT weir.create_transform('x', NULL);
SELECT weir.create_transform('pg_temp.x', 'SELECT sensor_id FROM sensors');

-- Rows come from the stream alone.
INSERT INTO sensor_f DEFAULT VALUES;
TRUNCATE sensor_f;
\set SHOW_CONTEXT never
ALTER TABLE sensor_f RENAME COLUMN site TO place;
ALTER TABLE sensor_f DROP COLUMN _offset;
ALTER TABLE parts DROP COLUMN ts;
ALTER TABLE sensor_f OWNER TO pg_monitor;
ALTER TABLE sensor_f SET UNLOGGED;
ALTER TABLE part_7 SET UNLOGGED;
-- The table may be renamed and moved, and have columns, indexes and constraints of one's own.
ALTER TABLE sensor_f ADD COLUMN seen_at timestamptz DEFAULT now(), ADD CHECK (temp_f > 0);
CREATE INDEX ON sensor_f (site);
ALTER TABLE sensor_f RENAME TO fahrenheit;
ALTER TABLE sensors RENAME COLUMN temp TO celsius;
SELECT * FROM weir.ingest('sensors', ARRAY[
    '{"sensor_id": 1, "celsius": 30, "humidity": 60, "ts": "2026-01-01T00:00:10Z"}',
    '{"sensor_id": 1, "celsius": -30, "humidity": 60, "ts": "2026-01-01T00:00:10Z"}']);
SELECT site, temp_f, seen_at IS NOT NULL AS seen FROM fahrenheit WHERE ts >= '2026-01-01T00:00:10Z';
SELECT message, object_name FROM weir.dead_letters ORDER BY id DESC LIMIT 1;

-- Old rows leave along the watermark, some with each batch.
SELECT weir.create_transform('recent', 'SELECT sensor_id, ts FROM sensors', retention => '10 seconds', backfill => false);
SELECT accepted FROM weir.ingest('sensors', ARRAY(
    SELECT format('{"sensor_id": %s, "ts": "2026-01-01T00:00:%sZ"}', i, i) FROM generate_series(10, 40) i), partition => 0);
SELECT accepted FROM weir.ingest('sensors', ARRAY(
    SELECT format('{"sensor_id": %s, "ts": "2026-01-01T00:00:%sZ"}', i, i) FROM generate_series(10, 40) i), partition => 1);
SELECT count(*), min(ts) FROM recent;
SELECT accepted FROM weir.ingest('sensors', '{"sensor_id": 12, "ts": "2026-01-01T00:00:12Z"}');
SELECT count(*), min(ts) FROM recent;
SELECT accepted FROM weir.ingest('sensors', '{"sensor_id": 13, "ts": "2026-01-01T00:00:13Z"}');
SELECT count(*), min(ts) FROM recent;
SELECT * FROM weir.verify('recent');

-- Dropped, it leaves a table of one's own.
SELECT weir.drop('parts');
SELECT count(*) FROM parts;
SELECT weir.drop('parts');

-- Dropped with all that belongs to them.
\set VERBOSITY terse
DROP TABLE sensors;
SELECT weir.drop('fahrenheit');
DROP TABLE recent;
SELECT object FROM weir.derived ORDER BY object;
SET client_min_messages = warning;
DROP TABLE sensors CASCADE;
RESET client_min_messages;
SELECT count(*) AS left_behind FROM weir.derived;
SELECT count(*) AS left_behind FROM weir_internal.transform;
SELECT relname FROM pg_class WHERE relnamespace IN ('tf'::regnamespace, 'weir_internal'::regnamespace)
    AND relname ~ '^(transform_|readings|shares|exploded|fahrenheit|recent)' AND relkind IN ('r', 'v') AND relname <> 'transform';

-- With reset a stream begins anew, but not while rows are in a table of one's own.
\set VERBOSITY default
CREATE SERVER tf_kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '127.0.0.1:1');
SELECT weir.create_stream('far', 'n int', server => 'tf_kafka', topic => 'far');
CREATE TABLE mine (n int);
SELECT weir.create_transform('far_n', 'SELECT n FROM far');
SELECT weir.create_transform('far_mine', 'SELECT n FROM far', into_table => 'mine');
SELECT accepted FROM weir.ingest('far', '{"n": 1}');
SELECT weir.seek('far', 'earliest', reset => true);
SELECT weir.drop('mine');
SELECT weir.seek('far', 'earliest', reset => true);
SELECT (SELECT count(*) FROM far_n) AS far_n, (SELECT count(*) FROM mine) AS mine;

-- Batches run as the stream's owner: he needs INSERT, and policies hold for him.
CREATE ROLE tf_owner;
CREATE ROLE tf_other;
GRANT ALL ON SCHEMA tf TO tf_owner, tf_other;
CREATE TABLE kept (n int);
SET ROLE tf_owner;
SELECT weir.create_stream('owned', 'n int');
SELECT weir.create_transform('x', 'SELECT n FROM owned', into_table => 'kept');
RESET ROLE;
GRANT INSERT ON kept TO tf_owner;
ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY small ON kept WITH CHECK (n < 5);
SET ROLE tf_owner;
SELECT weir.create_transform('x', 'SELECT n FROM owned', into_table => 'kept');
SELECT weir.create_transform('doubled', 'SELECT n * 2 AS n FROM owned');
SELECT * FROM weir.ingest('owned', '{"n": 4}'::text);
SELECT * FROM weir.ingest('owned', '{"n": 5}'::text);
SELECT message, object_name FROM weir.dead_letters WHERE stream = 'owned';
SELECT n FROM doubled;
SET ROLE tf_other;
SELECT n FROM doubled;
SELECT weir.create_transform('x', 'SELECT n FROM owned');
SELECT weir.drop('doubled');
SELECT * FROM weir.verify('doubled');
SELECT object FROM weir.derived;
RESET ROLE;
SELECT n FROM kept;
-- the right is lost: that is no event's fault
REVOKE INSERT ON kept FROM tf_owner;
SELECT * FROM weir.ingest('owned', '{"n": 3}'::text);
GRANT INSERT ON kept TO tf_owner;
-- transforms follow the stream to another owner
ALTER TABLE owned OWNER TO tf_other;
SELECT relname, relowner::regrole FROM pg_class WHERE relname IN ('doubled', 'kept') ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA tf CASCADE;
DROP SERVER tf_kafka;
DROP OWNED BY tf_owner, tf_other;
DROP ROLE tf_owner, tf_other;

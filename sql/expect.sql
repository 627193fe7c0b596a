-- weir.expect: conditions on each event, on the way in.
SET timezone = 'UTC';
SELECT weir.create_stream('readings',
    columns => 'id int, temp float8, note text, twice int GENERATED ALWAYS AS (id * 2) STORED, ts timestamptz',
    event_time => 'ts', partitions => 2);

-- Any boolean expression over the row's columns; four things can become of an event that violates it.
SELECT weir.expect('readings', 'sane_temp', 'temp BETWEEN -80 AND 150');
SELECT weir.expect('readings', 'known', 'twice < 200', on_violation => 'drop');
SELECT weir.expect('readings', 'has_note', 'note IS NOT NULL', on_violation => 'keep');
SELECT weir.expect('readings', '"Short Note"', 'length(note) < 5', on_violation => 'keep');
SELECT weir.expect('readings', 'divides', '100 / id > 0', on_violation => 'keep');
SELECT name, on_violation, expression FROM weir.expectation_stats WHERE stream = 'readings' ORDER BY name;

-- NULL counts as satisfied; an expression that raises an error makes a dead letter; the order is dead_letter, drop, keep.
SELECT * FROM weir.ingest('readings', ARRAY[
    '{"id": 1, "temp": 20, "note": "fine", "ts": "2026-01-01T00:00:01Z"}',
    '{"id": 2, "temp": 151, "note": "hot", "ts": "2026-01-01T00:01:00Z"}',
    '{"id": 3, "temp": 20, "ts": "2026-01-01T00:00:03Z"}',
    '{"id": 400, "temp": 20, "note": "unknown", "ts": "2026-01-01T00:02:00Z"}',
    '{"id": 400, "temp": -81, "note": "both", "ts": "2026-01-01T00:02:00Z"}',
    '{"id": 0, "temp": 20, "note": "raises", "ts": "2026-01-01T00:03:00Z"}',
    '{"id": -1, "note": "both kept", "ts": "2026-01-01T00:00:04Z"}',
    '{"ts": "2026-01-01T00:00:05Z"}',
    '{"temp": "NaN", "ts": "2026-01-01T00:00:05Z"}']);
-- what is refused moves no watermark
SELECT id, temp, note, _offset, _watermark, _violations FROM readings ORDER BY _offset;
SELECT kafka_offset, error_stage, sqlstate, message, constraint_name FROM weir.dead_letters ORDER BY id;
SELECT * FROM weir.audit('readings');
SELECT name, passed, failed, last_failed_partition, last_failed_offset, last_failed_at IS NOT NULL AS failed_at
FROM weir.expectation_stats WHERE stream = 'readings' ORDER BY name;

-- A dead letter is judged again when it is replayed.
SELECT * FROM weir.replay_dead_letters('readings', filter => 'kafka_offset = 1');
SELECT * FROM weir.replay_dead_letters('readings', filter => 'constraint_name = ''sane_temp''',
    transform => $$jsonb_set(convert_from(value, 'UTF8')::jsonb, '{temp}', '15')$$);
SELECT id, temp, _offset, _watermark, _violations FROM readings WHERE temp = 15;
-- one that is to be dropped now stays a dead letter
SELECT kafka_offset, replayed_at IS NOT NULL AS replayed FROM weir.dead_letters ORDER BY id;
SELECT name, failed FROM weir.expectation_stats WHERE stream = 'readings' AND failed > 0 ORDER BY name;
SELECT partition, dead_lettered, dropped, replayed, balanced FROM weir.audit('readings');

-- What stops a stream is an error in weir.ingest: nothing of the call is applied.
SELECT weir.expect('readings', 'never_seven', 'id <> 7', on_violation => 'stop');
SELECT * FROM weir.ingest('readings', ARRAY['{"id": 6, "ts": "2026-01-01T00:00:06Z"}', '{"id": 7, "ts": "2026-01-01T00:00:07Z"}'], partition => 1);
SELECT count(*) FROM readings WHERE id IN (6, 7);

-- Expectations change; from the offsets on where they were, which is noted.
SELECT weir.alter_expectation('readings', 'never_seven', on_violation => 'keep');
SELECT weir.alter_expectation('readings', 'never_seven', 'id <> 8');
SELECT weir.drop_expectation('readings', 'known');
SELECT * FROM weir.ingest('readings', ARRAY['{"id": 7, "note": "x", "ts": "2026-01-01T00:00:06Z"}', '{"id": 8, "note": "x", "ts": "2026-01-01T00:00:07Z"}', '{"id": 4000, "note": "x", "ts": "2026-01-01T00:00:07Z"}'], partition => 1);
SELECT id, _violations FROM readings WHERE _partition = 1 ORDER BY id;
SELECT name, change, expression, on_violation, offsets FROM weir.expectation_changes WHERE stream = 'readings' ORDER BY changed_at;
SELECT weir.alter_expectation('readings', 'known', 'true');
SELECT weir.drop_expectation('readings', 'known');
SELECT weir.drop_expectation('readings', NULL);

-- Columns that are renamed are renamed in it; one that it needs cannot go.
ALTER TABLE readings RENAME COLUMN temp TO celsius;
ALTER TABLE readings ALTER COLUMN celsius TYPE numeric;
SELECT expression FROM weir.expectation_stats WHERE name = 'sane_temp';
SELECT dead_lettered FROM weir.ingest('readings', '{"celsius": 151, "note": "x", "ts": "2026-01-01T00:00:06Z"}'::text);
\set SHOW_CONTEXT never
ALTER TABLE readings DROP COLUMN celsius;
ALTER TABLE readings RENAME CONSTRAINT sane_temp TO sane;
ALTER TABLE readings DROP CONSTRAINT sane_temp;
\set SHOW_CONTEXT errors
SELECT weir.drop_expectation('readings', 'sane_temp');
ALTER TABLE readings DROP COLUMN celsius;

-- Functions of one's own, with a remedy for those that read tables.
CREATE TABLE devices (id int PRIMARY KEY);
INSERT INTO devices VALUES (1), (2);
CREATE FUNCTION is_device(int) RETURNS boolean STABLE LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM devices WHERE id = $1)';
SELECT weir.expect('readings', 'device', 'EXISTS (SELECT FROM devices d WHERE d.id = readings.id)');
SELECT weir.expect('readings', 'device', 'is_device(id)');
SELECT * FROM weir.ingest('readings', ARRAY['{"id": 1, "note": "x", "ts": "2026-01-01T00:00:08Z"}', '{"id": 9, "note": "x", "ts": "2026-01-01T00:00:08Z"}']);
DROP FUNCTION is_device;
\set VERBOSITY terse
DROP FUNCTION is_device CASCADE;
\set VERBOSITY default
SELECT * FROM weir.ingest('readings', '{"id": 9, "note": "x", "ts": "2026-01-01T00:00:08Z"}'::text);
SELECT name FROM weir.expectation_stats WHERE stream = 'readings' ORDER BY name;

-- What is refused
SELECT weir.expect('readings', 'x', 'count(*) > 1');
SELECT weir.expect('readings', 'x', 'row_number() OVER () > 1');
SELECT weir.expect('readings', 'x', 'generate_series(1, id) > 1');
SELECT weir.expect('readings', 'x', 'random() < 1');
SELECT weir.expect('readings', 'x', 'ts < now()');
SELECT weir.expect('readings', 'x', 'ts < CURRENT_TIMESTAMP');
SELECT weir.expect('readings', 'x', 'id');
SELECT weir.expect('readings', 'x', 'nothing > 1');
SELECT weir.expect('readings', 'x', 'readings IS NOT NULL');
SELECT weir.expect('readings', 'x', 'tableoid > 0');
SELECT weir.expect('readings', 'x', '_violations IS NULL');
SELECT weir.expect('readings', 'x', 'true) FROM devices WHERE (true');
SELECT weir.expect('readings', 'x', 'true -- ');
SELECT weir.drop_expectation('readings', 'x');
SELECT weir.expect('readings', 'x', '');
SELECT weir.expect('readings', 'x', NULL);
SELECT weir.expect('readings', NULL, 'true');
SELECT weir.expect('readings', 'public.x', 'true');
SELECT weir.expect('readings', 'x', 'true', 'ignore');
SELECT weir.expect('readings', 'has_note', 'true');
SELECT weir.expect('readings', 'has_note', 'true', if_not_exists => true);
SELECT weir.expect('devices', 'x', 'true');
ALTER TABLE readings ADD CONSTRAINT positive CHECK (id > -5);
SELECT weir.expect('readings', 'positive', 'true');
-- a column of that name that is something else
SELECT weir.create_stream('odd', columns => 'id int, _violations int');
SELECT weir.create_stream('odd', columns => 'id int');
ALTER TABLE odd ADD COLUMN _violations int;
SELECT weir.expect('odd', 'x', 'true', 'keep');
SELECT weir.create_stream('declared', columns => 'id int, _violations text[]');
SELECT weir.expect('declared', 'x', 'id > 1', 'keep');
SELECT accepted FROM weir.ingest('declared', '{"id": 1, "_violations": ["y"]}'::text, kafka_timestamp => '2026-01-01');
SELECT id, _violations, _extra FROM declared;

-- Only the owner of the stream says what is expected; his rights are those of the expression.
CREATE ROLE expect_owner;
CREATE ROLE expect_reader;
CREATE FUNCTION secret(int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 0';
REVOKE ALL ON FUNCTION secret(int) FROM PUBLIC;
ALTER TABLE declared OWNER TO expect_owner;
GRANT USAGE, CREATE ON SCHEMA public TO expect_owner;
GRANT INSERT ON declared TO expect_reader;
SET ROLE expect_reader;
SELECT weir.expect('declared', 'y', 'true');
SELECT weir.alter_expectation('declared', 'x', 'true');
SELECT weir.drop_expectation('declared', 'x');
SELECT count(*) FROM weir.expectation_stats;
SET ROLE expect_owner;
SELECT weir.expect('declared', 'y', 'secret(id)');
RESET ROLE;
SELECT weir.expect('declared', 'y', 'secret(id)');
SET ROLE expect_owner;
CREATE FUNCTION who(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE '% judges', current_user; END $$;
SELECT weir.expect('declared', 'y', 'who(id)');
SELECT count(*) FROM weir.expectation_stats;
SET ROLE expect_reader;
SELECT dead_lettered FROM weir.ingest('declared', '{"id": 2}'::text, kafka_timestamp => '2026-01-01');
RESET ROLE;
SELECT message FROM weir.dead_letters WHERE stream = 'declared';

-- A stream takes its expectations along.
DROP TABLE readings;
SELECT weir.drop_stream('declared');
SELECT weir.drop_stream('odd');
SELECT count(*) FROM weir_internal.expectation;
SELECT count(*) FROM weir_internal.expectation_failure;
DROP FUNCTION secret, who;
DROP TABLE devices;
REVOKE ALL ON SCHEMA public FROM expect_owner;
DROP ROLE expect_owner, expect_reader;

-- Most events meet all expressions at once; where one does not, or raises an error, it is the first in order that counts.
CREATE SCHEMA ex;
SET search_path = ex;
SELECT weir.create_stream('several', 'a int, b int, c text');
SELECT weir.expect('several', 'a_divides', '100 / a > 0');
SELECT weir.expect('several', 'b_divides', '100 / b > 0');
SELECT weir.expect('several', 'b_small', 'b < 50', on_violation => 'drop');
SELECT weir.expect('several', 'c_divides', '12 / length(c) > 2', on_violation => 'drop');
SELECT weir.expect('several', 'c_short', 'length(c) < 4', on_violation => 'keep');
SELECT weir.expect('several', 'd_divides', '9 / (length(c) - 3) >= -9', on_violation => 'keep');
SELECT * FROM weir.ingest('several', ARRAY[
    '{"a": 1, "b": 1, "c": "x"}', '{"a": null}', '{}',
    '{"a": 0, "b": 1, "c": "a raises"}', '{"a": 1, "b": 0, "c": "b raises"}', '{"a": 0, "b": 0, "c": "a is first"}',
    '{"a": 200, "b": 0, "c": "a is violated"}', '{"a": 1, "b": 200, "c": "b is"}', '{"a": 1, "b": 60, "c": "dropped"}',
    '{"a": 0, "b": 60, "c": "a raises before"}', '{"a": 1, "b": 1, "c": ""}', '{"a": 1, "b": 60, "c": ""}',
    '{"a": 1, "b": 1, "c": "many"}', '{"a": 1, "b": 1, "c": "xyz"}', '{"a": 1, "b": 1, "c": "some!"}']);
SELECT a, b, c, _violations FROM several ORDER BY _offset;
SELECT kafka_offset, sqlstate, message, constraint_name FROM weir.dead_letters WHERE stream = 'several' ORDER BY kafka_offset;
SELECT name, on_violation, passed, failed, last_failed_offset FROM weir.expectation_stats WHERE stream = 'several' ORDER BY name;
SELECT weir.drop_stream('several', cascade => true);
RESET search_path;
DROP SCHEMA ex;

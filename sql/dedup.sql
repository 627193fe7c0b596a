-- Duplicates are told by event_id, for dedup_ttl of event time.
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset format unaligned

-- what goes together, and what must be there
CREATE FUNCTION refused(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE sql;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || SQLERRM || coalesce(E'\n  ' || nullif(hint, ''), '');
END
$$;
SELECT refused(format('SELECT weir.create_stream(%s)', arguments)) FROM unnest(ARRAY[
    $$'d', 'id int', event_id => '{id}'$$,
    $$'d', 'id int', dedup_ttl => '1 day'$$,
    $$'d', 'id int', event_id => '{id,nr}', dedup_ttl => '1 day'$$,
    $$'d', 'id int', event_id => '{ctid}', dedup_ttl => '1 day'$$,
    $$'d', 'id int', event_id => '{}', dedup_ttl => '1 day'$$,
    $$'d', 'id int', event_id => '{NULL}', dedup_ttl => '1 day'$$,
    $$'d', 'id int', event_id => '{id}', dedup_ttl => '0'$$,
    $$'d', 'id int', event_id => '{id}', dedup_ttl => '1 month'$$,
    $$'d', 'id point', event_id => '{id}', dedup_ttl => '1 day'$$
]) arguments;

-- an eighth of the time is a slice: an id is known until the end of its event's slice, and a day
SELECT weir.create_stream('d', 'id text, ts timestamptz', event_id => '{id}', dedup_ttl => '24 hours',
    event_time => 'ts', partitions => 2);
CREATE FUNCTION send(id text, ts timestamptz, p int = 0, stream regclass = 'd') RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN accepted = 1 THEN 'accepted' WHEN duplicate = 1 THEN 'duplicate' ELSE 'dead letter' END
    FROM weir.ingest(stream, jsonb_build_object('id', id, 'ts', ts), partition => p)
$$;
SELECT send('x', '2026-01-01 00:00'), send('y', '2026-01-02 01:00'), send('x', '2026-01-02 01:00');
SELECT send('z', '2026-01-02 02:59:59.999999'), send('x', '2026-01-02 01:00');
-- what other partitions do changes nothing
SELECT send('far', '2026-01-05 00:00', 1), send('x', '2026-01-02 01:00');
SELECT send('z2', '2026-01-02 03:00'), send('x', '2026-01-02 01:00'), send('x', '2026-01-02 01:00');
SELECT id, ts, _partition, _offset, _watermark FROM d ORDER BY _partition, _offset;
SELECT * FROM weir.audit('d');
SELECT partition, watermark FROM weir.stream_stats WHERE stream = 'd' ORDER BY 1;

-- duplicates move the watermark like others
SELECT weir.create_stream('w', 'id text, ts timestamptz', event_id => '{id}', dedup_ttl => '24 hours', event_time => 'ts');
SELECT send('x', '2026-01-01 00:00', 0, 'w'), send('x', '2026-01-01 12:00', 0, 'w'), send('y', '2026-01-01 00:00', 0, 'w');
SELECT id, _watermark FROM w ORDER BY _offset;

-- what comes so late that its own slice is over is accepted each time, and can be counted
SELECT send('now', '2026-01-10 03:00', 0, 'w'), send('late', '2026-01-08 23:59:59.999999', 0, 'w'), send('late', '2026-01-08 23:59:59.999999', 0, 'w');
SELECT send('late', '2026-01-09 02:59:59.999999', 0, 'w'), send('late', '2026-01-09 03:00', 0, 'w'), send('late', '2026-01-09 03:00', 0, 'w');
SELECT id, ts FROM w WHERE date_bin('3 hours', ts, '2000-01-03 00:00:00Z') + interval '3 hours' + interval '1 day' <= _watermark ORDER BY _offset;

-- the ends of time: no watermark is as late, no slice ends after it
SELECT weir.create_stream('ends', 'id text, ts timestamptz', event_id => '{id}', dedup_ttl => '100000000 days', event_time => 'ts', max_future => '1000000000 hours');
SELECT send('x', '4713-01-01 00:00 BC', 0, 'ends'), send('x', '4713-01-01 00:00 BC', 0, 'ends'), send('y', '9999-12-31 23:59:59', 0, 'ends'), send('x', '9999-12-31', 0, 'ends');

-- a type of its own: the same text and number are one id where the column says so
SELECT weir.create_stream('j', 'id jsonb, nr numeric', event_id => '{id}', dedup_ttl => '1 day', partitions => 1);
SELECT * FROM weir.ingest('j', ARRAY['{"id": 1}', '{"id": "1"}', '{"id": 1.0}', '{"id": "1"}', '{"id": true}', '{"id": "true"}', '{"id": {"a": 1}}', '{"id": "{\"a\": 1}"}']);
SELECT id FROM j ORDER BY _offset;
-- of a composite id every part counts, in its place, and none may be missing
SELECT weir.create_stream('c', 'a text, b text, c int', event_id => '{a,b,c}', dedup_ttl => '1 day');
SELECT * FROM weir.ingest('c', ARRAY['{"a": "x", "b": "yz", "c": 1}', '{"a": "xy", "b": "z", "c": 1}', '{"a": "", "b": "xyz", "c": 1}', '{"a": "yz", "b": "x", "c": 1}', '{"a": "x", "b": "yz", "c": 2}', '{"a": "x", "b": "yz", "c": 1}']);
SELECT * FROM weir.ingest('c', ARRAY['{"b": "y", "c": 1}', '{"a": "x", "c": 1}', '{"a": "x", "b": "y"}', '{"a": null, "b": null, "c": null}', '{"b": "y", "c": 1}']);
SELECT column_name, sqlstate, count(*) FROM weir.dead_letters WHERE stream = 'c' GROUP BY 1, 2 ORDER BY 1, 2;
-- ids longer than what a block of them is to be, one that differs in its last byte
SELECT weir.create_stream('long', 'id text', event_id => '{id}', dedup_ttl => '1 day');
CREATE FUNCTION long_ids(tail text) RETURNS jsonb[] LANGUAGE sql AS $$
    SELECT array_agg(jsonb_build_object('id', repeat(md5(i::text), 40000) || tail) ORDER BY i) FROM generate_series(1, 3) i
$$;
SELECT * FROM weir.ingest('long', long_ids('a'));
SELECT * FROM weir.ingest('long', long_ids('b') || long_ids('a') || jsonb_build_object('id', 'short'));
SELECT count, length(ids) FROM weir_internal.long_ids ORDER BY length(ids) DESC;
\c -
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset format unaligned
SELECT * FROM weir.ingest('long', long_ids('a') || long_ids('b') || jsonb_build_object('id', 'short'));
DROP TABLE ends, j, c, long;
DROP FUNCTION long_ids;

-- in one batch, over all its lots; the times before 2000 have slices, too
SELECT weir.create_stream('l', 'id text, ts timestamptz', event_id => '{id}', dedup_ttl => '24 hours', event_time => 'ts');
SELECT * FROM weir.ingest('l', (SELECT array_agg(jsonb_build_object('id', 'b' || i % 1500, 'ts', '1999-12-31 23:00'::timestamptz + make_interval(secs => i)) ORDER BY i)
    FROM generate_series(0, 3999) i));
SELECT count(*), count(DISTINCT id), min(_offset), max(_offset) FROM l;
SELECT * FROM weir.ingest('l', (SELECT array_agg(jsonb_build_object('id', 'b' || i, 'ts', '2000-01-01'::timestamptz)) FROM generate_series(1490, 1509) i));

-- an event without an id is a dead letter, whose id is not remembered
SELECT weir.create_stream('n', 'a int, b text, v int, ts timestamptz', event_id => '{b,a}', dedup_ttl => '1 hour', event_time => 'ts');
SELECT * FROM weir.ingest('n', ARRAY[
    '{"a": 1, "b": "x", "ts": "2026-01-01T00:00:00Z"}', '{"a": 1, "ts": "2026-01-01T00:00:00Z"}',
    '{"b": "x", "ts": "2026-01-01T00:00:00Z"}', '{"a": 1, "b": "", "ts": "2026-01-01T00:00:00Z"}',
    '{"a": 11, "b": "x", "ts": "2026-01-01T00:00:00Z"}', '{"a": 1, "b": "x1", "ts": "2026-01-01T00:00:00Z"}',
    '{"a": 2, "b": "y", "v": "bad", "ts": "2026-01-01T00:00:00Z"}', '{"a": 3, "b": "z", "v": "bad", "ts": "2026-01-01T00:00:00Z"}',
    '{"a": 1, "b": "x", "ts": "2026-01-01T00:00:01Z"}', '{"a": 2, "b": "y", "ts": "2026-01-01T00:00:02Z"}']);
SELECT a, b FROM n ORDER BY _offset;
SELECT kafka_offset, error_stage, sqlstate, message, column_name FROM weir.dead_letters WHERE stream = 'n' ORDER BY 1;
-- a replay goes through all this: 2,y is a duplicate by now
SELECT * FROM weir.replay_dead_letters('n', filter => 'error_stage = ''convert''',
    transform => $$replace(convert_from(value, 'UTF8'), '"bad"', '7')$$);
SELECT kafka_offset, replayed_at IS NOT NULL AS replayed FROM weir.dead_letters WHERE stream = 'n' ORDER BY 1;
SELECT a, b, v, _offset FROM n WHERE a IN (2, 3) ORDER BY _offset;
SELECT * FROM weir.ingest('n', '{"a": 3, "b": "z", "ts": "2026-01-01T00:00:00Z"}'::text);
SELECT * FROM weir.audit('n');
SELECT kafka_offset, replayed_chunk IS NULL AS no_row FROM weir_internal.dead_letter WHERE stream = 'n'::regclass AND replayed_at IS NOT NULL ORDER BY 1;

-- what is rolled back was never there
BEGIN;
SAVEPOINT one;
SELECT send('r', '2026-01-02'), send('r', '2026-01-02');
ROLLBACK TO one;
SELECT send('r', '2026-01-02'), send('r', '2026-01-02');
RELEASE one;
SELECT send('r', '2026-01-02');
ROLLBACK;
SELECT send('r', '2026-01-02'), send('r', '2026-01-02');
-- nor is what a trigger refuses: the next one with the same id counts
SELECT weir.create_stream('t', 'id int, v int, ts timestamptz', event_id => '{id}', dedup_ttl => '1 hour', event_time => 'ts');
CREATE FUNCTION no_thirteen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 / (v - 13) FROM batch;
    RETURN NULL;
END
$$;
CREATE TRIGGER no_thirteen AFTER INSERT ON t REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION no_thirteen();
SELECT * FROM weir.ingest('t', (SELECT array_agg(jsonb_build_object('id', i % 700, 'v', CASE WHEN i IN (5, 6, 699, 1405) THEN 13 ELSE i END,
    'ts', '2026-01-01T00:00:00Z') ORDER BY i) FROM generate_series(0, 2099) i));
SELECT count(*), count(DISTINCT id) FROM t;
SELECT id, v FROM t WHERE id IN (5, 6, 699) ORDER BY id;
SELECT kafka_offset FROM weir.dead_letters WHERE stream = 't' ORDER BY 1;
SELECT * FROM weir.audit('t');

-- ids of many types: as their operators see them, not as their bytes
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TYPE pair AS (x int, y numeric);
CREATE DOMAIN small AS int CHECK (VALUE < 1000);
CREATE TABLE ids (type text, first jsonb, same jsonb, other jsonb);
INSERT INTO ids VALUES
    ('uuid', '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"', '"A0EEBC999C0B4EF8BB6D6BB9BD380A11"', '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"'),
    ('text', '"a"', '"a"', '"A"'), ('text COLLATE nocase', '"a"', '"A"', '"b"'), ('varchar(9)', '"a"', '"a"', '"a "'),
    ('char(9)', '"a"', '"a  "', '"b"'), ('numeric', '1.5', '1.50', '1.51'), ('float8', '0', '-0.0', '1'),
    ('bigint', '1', '1', '4294967297'), ('smallint', '-1', '-1', '1'), ('boolean', 'true', '"yes"', 'false'),
    ('timestamptz', '"2026-01-01T00:00:00Z"', '"2026-01-01T01:00:00+01:00"', '"2026-01-01T01:00:00Z"'),
    ('interval', '"1 day"', '"24:00:00"', '"25:00:00"'), ('bytea', '"\\x01"', '"\\x01"', '"\\x0100"'),
    ('jsonb', '{"a": 1, "b": 2}', '{"b": 2, "a": 1.0}', '{"a": 1}'), ('color', '"red"', '"red"', '"green"'),
    ('int[]', '[1, 2]', '[1, 2]', '[1, 2, 3]'), ('numeric[]', '[1, 2]', '[1.0, 2]', '[1, 2.1]'), ('small', '7', '7', '8'),
    ('pair', '{"x": 1, "y": 1}', '{"x": 1, "y": 1.0}', '{"x": 1, "y": 2}'), ('int4range', '"[1,3)"', '"[1,2]"', '"[1,3]"');
CREATE FUNCTION try_type(ids) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text := '';
    payload jsonb;
    n int := 0;
BEGIN
    EXECUTE format('SELECT weir.create_stream(''typed'', ''id %s'', event_id => ''{id}'', dedup_ttl => ''1 day'')', replace($1.type, '''', ''''''));
    -- from memory, from the table, together
    FOREACH payload IN ARRAY ARRAY[$1.first, $1.same, $1.other, $1.first, $1.other] LOOP
        n := n + 1;
        SELECT answer || CASE WHEN accepted = 1 THEN 'a' WHEN duplicate = 1 THEN 'd' ELSE '!' END INTO answer
        FROM weir.ingest('typed'::regclass, jsonb_build_object('id', payload));
    END LOOP;
    SELECT answer || ' ' || duplicate INTO answer FROM weir.ingest('typed'::regclass, ARRAY[jsonb_build_object('id', $1.same), jsonb_build_object('id', $1.other)]);
    DROP TABLE typed;
    RETURN answer;
END
$$;
SELECT type, try_type(i) FROM ids i;

-- beyond the memory allowed it is slower, not otherwise
SET weir.dedup_memory = '64 kB';
SELECT weir.create_stream('big', 'id uuid, nr int', event_id => '{id}', dedup_ttl => '1 day');
CREATE FUNCTION numbered(lo int, hi int) RETURNS jsonb[] LANGUAGE sql AS $$
    SELECT array_agg(jsonb_build_object('id', md5(i::text), 'nr', i) ORDER BY i) FROM generate_series(lo, hi) i
$$;
SELECT * FROM weir.ingest('big', numbered(1, 3000));
SELECT * FROM weir.ingest('big', numbered(2001, 5000));
SELECT * FROM weir.ingest('big', numbered(4001, 7000));
SELECT * FROM weir.ingest('big', numbered(1, 9000));
SELECT count(*), count(DISTINCT id), sum(nr) FROM big;
SELECT stream, ids, blocks, bytes > 16 * ids AS enough FROM weir.remembered_ids WHERE stream IN ('big', 'd') ORDER BY 1;
RESET weir.dedup_memory;
SELECT * FROM weir.ingest('big', numbered(1, 9001));
-- a new session knows what others know
\c -
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset format unaligned
SELECT * FROM weir.ingest('big', numbered(8999, 9003));
SELECT * FROM weir.ingest('big', numbered(1, 9004));
SELECT count(*), count(DISTINCT id), sum(nr) FROM big;

-- ids go when no event to come can be a duplicate of them
SELECT block > 0 AS block, slice_end, count FROM weir_internal.d_ids ORDER BY slice_end;
SELECT send('on1', '2026-01-09 00:00', 1), send('on2', '2026-01-03 03:00', 0);
-- now and then, in a batch
DO $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM weir_internal.d_ids WHERE slice_end <= '2026-01-02 03:00');
        COMMIT;
        PERFORM pg_sleep(0.05);
        PERFORM send('on3', '2026-01-03 03:00', 0);
    END LOOP;
END
$$;
SELECT slice_end, count FROM weir_internal.d_ids ORDER BY slice_end;

-- the time may change: what is remembered is judged by the new one
SELECT weir.alter_stream('d', dedup_ttl => '48 hours');
SELECT send('y', '2026-01-03'), send('on3', '2026-01-03');
SELECT send('on4', '2026-01-04 06:00'), send('on3', '2026-01-03');
SELECT weir.alter_stream('d', dedup_ttl => '8 hours');
SELECT send('on3', '2026-01-03');
SELECT event_id, dedup_ttl FROM weir.catalog WHERE stream = 'd';
SELECT refused($$SELECT weir.alter_stream('d', dedup_ttl => '0')$$);
SELECT weir.create_stream('plain', 'id int');
SELECT refused($$SELECT weir.alter_stream('plain', dedup_ttl => '1 day')$$);
-- the columns may not
SELECT refused('ALTER TABLE d RENAME id TO nr'), refused('ALTER TABLE d ALTER id TYPE varchar'), refused('ALTER TABLE d DROP id');
ALTER TABLE d ADD note text;
ALTER TABLE d ALTER id SET NOT NULL;
-- the stream may have another name
ALTER TABLE d RENAME TO e;
SELECT send('on4', '2026-01-04 06:00', 0, 'e'), send('on5', '2026-01-04 06:00', 0, 'e');

-- nothing is left behind
DROP FUNCTION refused, send, try_type, numbered;
DROP TABLE e, w, l, n, t, big, plain, ids;
DROP FUNCTION no_thirteen;
SELECT relname FROM pg_class WHERE relnamespace = 'weir_internal'::regnamespace AND relname LIKE '%\_ids%' AND relkind = 'r';
DROP TYPE color, pair;
DROP DOMAIN small;
DROP COLLATION nocase;

-- weir.ingest: payloads from any session, through the same path as Kafka's.
SET timezone = 'UTC';
SELECT weir.create_stream('readings',
    columns => 'id int, temp float8, note text, ts timestamptz',
    event_time => 'ts', metadata => '{key,headers,topic}', partitions => 3);

-- One payload or many, as text, jsonb or bytea.
SELECT * FROM weir.ingest('readings', '{"id": 1, "temp": 20.5, "note": "text", "ts": "2026-01-01T00:00:01Z"}'::text);
SELECT * FROM weir.ingest('readings', '{"id": 2, "temp": 21.5, "note": "jsonb", "ts": "2026-01-01T00:00:02Z"}'::jsonb);
SELECT * FROM weir.ingest('readings', convert_to('{"id": 3, "note": "bytea", "ts": "2026-01-01T00:00:03Z"}', 'UTF8'));
SELECT * FROM weir.ingest('readings', ARRAY['{"id": 4, "ts": "2026-01-01T00:00:04Z"}', '{"id": 5, "ts": "2026-01-01T00:00:05Z"}']);
SELECT * FROM weir.ingest('readings', ARRAY['{"id": 6, "ts": "2026-01-01T00:00:06Z"}', '{"id": 7, "ts": "2026-01-01T00:00:07Z"}']::jsonb[]);
SELECT * FROM weir.ingest('readings', ARRAY['\x7b226964223a20387d', '{"id": 9, "ts": "2026-01-01T00:00:09Z"}']::bytea[]);
-- arrays with other bounds, several dimensions, or nothing in them
SELECT * FROM weir.ingest('readings', '[5:6]={"{\"id\": 10, \"ts\": \"2026-01-01T00:00:10Z\"}", null}'::text[]);
SELECT * FROM weir.ingest('readings', ARRAY[['{"id": 11, "ts": "2026-01-01T00:00:11Z"}'], ['{"id": 12, "ts": "2026-01-01T00:00:12Z"}']]);
SELECT * FROM weir.ingest('readings', '{}'::text[]);
SELECT * FROM weir.ingest('readings', NULL::text[]);
-- a NULL is a tombstone
SELECT * FROM weir.ingest('readings', NULL::text);
SELECT id, temp, note, ts, _partition, _offset, _timestamp, _watermark, _extra, _key, _headers, _topic FROM readings ORDER BY _offset;
SELECT partition, kafka_offset, encode(value, 'escape') AS value, error_stage, sqlstate, message FROM weir.dead_letters ORDER BY id;

-- key, headers and Kafka's timestamp go with every payload of the call.
SELECT * FROM weir.ingest('readings', ARRAY['{"id": 20, "ts": "2026-01-01T00:00:20Z"}', '{"id": 21, "ts": "2026-01-01T00:00:21Z"}'],
    key => '\x00ff', headers => '{"trace": "abc", "n": null}', kafka_timestamp => '2026-01-01 00:01:00Z', partition => 1);
SELECT id, _partition, _offset, _timestamp, _key, _headers FROM readings WHERE _partition = 1 ORDER BY _offset;

-- A stream without Kafka has the partitions it was created with, each with offsets of its own.
SELECT * FROM weir.ingest('readings', '{"id": 30, "ts": "2026-01-01T00:00:30Z"}'::text, partition => 2);
SELECT * FROM weir.ingest('readings', '{"id": 31, "ts": "2026-01-01T00:00:31Z"}'::text, partition => 3);
SELECT * FROM weir.ingest('readings', '{"id": 31, "ts": "2026-01-01T00:00:31Z"}'::text, partition => -1);
SELECT * FROM weir.ingest('readings', '{}'::text[], partition => 7);
SELECT partition, consumed, staged, dead_lettered, applied_offset, end_offset, lag, time_lag
FROM weir.stream_stats WHERE stream = 'readings' ORDER BY partition;
-- on a stream of Kafka's, what is ingested is partition -1
CREATE SERVER nokafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" 'localhost:1');
SELECT weir.create_stream('kafka_readings', 'id int, ts timestamptz', server => 'nokafka', topic => 'readings',
    event_time => 'ts', metadata => '{topic}');
SELECT * FROM weir.ingest('kafka_readings', '{"id": 1, "ts": "2026-01-01T00:00:01Z"}'::text, partition => 0);
SELECT * FROM weir.ingest('kafka_readings', '{"id": 1, "ts": "2026-01-01T00:00:01Z"}'::text);
SELECT * FROM kafka_readings;
SELECT stream, state FROM weir.status WHERE stream = 'kafka_readings';

-- What is not a stream, or not there
SELECT * FROM weir.ingest(NULL, 'x'::text);
SELECT * FROM weir.ingest('pg_class', 'x'::text);
SELECT * FROM weir.ingest('nowhere', 'x'::text);

-- All is one transaction with the caller's.
BEGIN;
SELECT * FROM weir.ingest('readings', '{"id": 40, "ts": "2026-01-01T00:00:40Z"}'::text);
SAVEPOINT s;
SELECT * FROM weir.ingest('readings', '{"id": 41, "ts": "2026-01-01T00:00:41Z"}'::text);
SELECT * FROM weir.ingest('readings', 'broken'::text);
ROLLBACK TO s;
SELECT * FROM weir.ingest('readings', '{"id": 42, "ts": "2026-01-01T00:00:42Z"}'::text);
COMMIT;
SELECT id, _offset FROM readings WHERE id >= 40 ORDER BY _offset;
BEGIN;
SELECT * FROM weir.ingest('readings', '{"id": 43, "ts": "2026-01-01T00:00:43Z"}'::text);
ROLLBACK;
SELECT count(*) FROM readings WHERE id = 43;
SELECT * FROM weir.audit('readings');

-- Tombstones: dead letters, unless skipped or rows.
SELECT weir.create_stream('skipping', 'id int, ts timestamptz', event_time => 'ts', tombstones => 'skip');
SELECT * FROM weir.ingest('skipping', ARRAY['{"id": 1, "ts": "2026-01-01Z"}', NULL, NULL, '{"id": 2, "ts": "2026-01-01Z"}']);
SELECT id, _offset FROM skipping ORDER BY _offset;
SELECT * FROM weir.audit('skipping');
SELECT weir.create_stream('customers', 'id int NOT NULL, name text NOT NULL DEFAULT ''nobody'', shout text GENERATED ALWAYS AS (upper(name)) STORED, ts timestamptz',
    event_time => 'ts', key_format => 'json', key_columns => '{id}', tombstones => 'row');
SELECT * FROM weir.ingest('customers', '{"name": "ann", "ts": "2026-01-01T00:00:01Z"}'::text, key => '{"id": 1}', kafka_timestamp => '2026-01-01T00:00:00Z');
SELECT * FROM weir.ingest('customers', NULL::text, key => '{"id": 1}', kafka_timestamp => '2026-01-01T00:00:02Z');
SELECT * FROM weir.ingest('customers', '{"ts": "2026-01-01T00:00:03Z"}'::text, key => '{"id": 2}', kafka_timestamp => '2026-01-01T00:00:02Z');
-- with a NULL name, with a key that does not decode, without a key
SELECT * FROM weir.ingest('customers', '{"name": null, "ts": "2026-01-01T00:00:03Z"}'::text, key => '{"id": 3}');
SELECT * FROM weir.ingest('customers', '{"name": "x", "ts": "2026-01-01T00:00:03Z"}'::text, key => 'one');
SELECT * FROM weir.ingest('customers', '{"name": "x", "ts": "2026-01-01T00:00:03Z"}'::text);
SELECT id, name, shout, ts, _offset, _timestamp, _watermark, _tombstone FROM customers ORDER BY _offset;
SELECT kafka_offset, error_stage, sqlstate, message, column_name, constraint_name FROM weir.dead_letters WHERE stream = 'customers' ORDER BY id;
-- a tombstone has the time that Kafka gave it, here the present
SELECT * FROM weir.ingest('customers', NULL::text, key => '{"id": 1}');
SELECT count(*) FROM customers WHERE _tombstone AND _timestamp > now() - interval '1 minute';
SELECT * FROM weir.audit('customers');

-- Keys as text, into a column.
SELECT weir.create_stream('keyed', 'device text, v int, ts timestamptz', event_time => 'ts',
    key_format => 'text', key_columns => '{device}', metadata => '{key}');
SELECT * FROM weir.ingest('keyed', '{"v": 1, "ts": "2026-01-01Z"}'::text, key => 'd1');
SELECT * FROM weir.ingest('keyed', '{"v": 2, "ts": "2026-01-01Z"}'::text, key => '');
SELECT * FROM weir.ingest('keyed', '{"v": 3, "ts": "2026-01-01Z"}'::text);
SELECT * FROM weir.ingest('keyed', '{"v": 4, "ts": "2026-01-01Z"}'::text, key => '\xff');
SELECT device, device IS NULL AS device_is_null, v, _key, _offset FROM keyed ORDER BY _offset;
SELECT kafka_offset, error_stage, sqlstate, message FROM weir.dead_letters WHERE stream = 'keyed' ORDER BY id;

-- Any type; DEFAULTs for what is missing; NOT NULL, CHECK, domains and generated columns are honoured.
CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN required AS text NOT NULL;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE point3 AS (x int, y int, z int);
SELECT weir.create_stream('typed', event_time => 'ts', columns => $$
    id int NOT NULL,
    p percent,
    m mood DEFAULT 'ok',
    tags text[],
    span int4range,
    num numeric(6,2) CHECK (num >= 0),
    addr inet,
    bits bit(3),
    pos point3,
    mac varchar(5),
    doc jsonb,
    day date,
    dur interval,
    u uuid,
    raw bytea,
    twice numeric GENERATED ALWAYS AS (num * 2) STORED,
    req required DEFAULT 'given',
    ts timestamptz DEFAULT '2026-01-01Z',
    CONSTRAINT id_is_small CHECK (id < 1000) $$);
SELECT * FROM weir.ingest('typed', ARRAY[
    '{"id": 1, "p": 50, "m": "happy", "tags": ["a", "b c", null], "span": "[1,5)", "num": 12.345, "addr": "10.0.0.1", "bits": "101", "pos": "(1,2,3)", "mac": "abcde", "doc": {"a": [1, 2]}, "day": "2026-02-28", "dur": "1 day 02:00", "u": "00000000-0000-0000-0000-000000000001", "raw": "\\x0102", "req": "mine", "ts": "2026-01-02T03:04:05.678901+02:00"}',
    '{"id": 2}',
    '{"id": 3, "p": null, "m": null, "num": null, "surplus": {"x": 1}, "twice": 7}',
    '{"p": 1}',
    '{"id": null}',
    '{"id": 5, "p": 101}',
    '{"id": 6, "m": "angry"}',
    '{"id": 7, "tags": "{broken"}',
    '{"id": 8, "span": "[5,1)"}',
    '{"id": 9, "num": -1}',
    '{"id": 10, "num": 12345.678}',
    '{"id": 11, "bits": "1010"}',
    '{"id": 12, "mac": "abcdef"}',
    '{"id": 13, "day": "2026-02-29"}',
    '{"id": 14, "u": "nonsense"}',
    '{"id": 15, "req": null}',
    '{"id": 1000}',
    '{"id": 99999999999}',
    '{"id": 16, "ts": null}',
    '{"id": 17, "pos": "(1,2)"}',
    '{"id": 18, "num": "1.5", "day": "infinity"}']);
SELECT id, p, m, tags, span, num, addr, bits, pos, mac, doc, day, dur, u, raw, twice, req, ts, _extra FROM typed ORDER BY _offset \gx
SELECT kafka_offset, error_stage, sqlstate, message, column_name, constraint_name
FROM weir.dead_letters WHERE stream = 'typed' ORDER BY kafka_offset;
SELECT * FROM weir.audit('typed');

-- Bad payloads: each a dead letter, kept to the byte, none takes its neighbours along.
SELECT weir.create_stream('bad', 'id int, t text, ts timestamptz DEFAULT ''2026-01-01Z''', event_time => 'ts');
SELECT * FROM weir.ingest('bad', ARRAY[
    '{"id": 1}'::bytea,
    '',
    ' ',
    'null',
    '5',
    '"text"',
    '[{"id": 1}]',
    '{"id": 1',
    '{"id": 1} trailing',
    '{"id": 1e400}',
    '{"id": 123456789012345678901234567890}',
    '\x7b2274223a2022612062227d00',
    '\x7b2274223a2022ff227d',
    '\x7b2274223a2022c080227d',
    '\xefbbbf7b226964223a327d',
    convert_to('{"t": "' || '\' || 'ud800"}', 'UTF8'),
    convert_to('{"t": "' || '\' || 'u0000"}', 'UTF8'),
    convert_to('{"t": ' || repeat('[', 10000) || repeat(']', 10000) || '}', 'UTF8'),
    '{"id": 1, "id": 2}',
    '{"id": "3"}',
    '{"id": true}',
    '{"id": 4.0}',
    '{"id": 4.5}',
    '{"ts": "infinity"}',
    '{"ts": 1767225600}',
    '{"ts": "294277-01-01"}',
    '{"t": {"nested": [1, {"a": "b"}]}}',
    '{"t": 1.50}',
    '{"t": false}']::bytea[]);
SELECT _offset, id, t, ts FROM bad ORDER BY _offset;
SELECT kafka_offset, left(encode(value, 'escape'), 30) AS value, error_stage, sqlstate, left(message, 80) AS message, column_name
FROM weir.dead_letters WHERE stream = 'bad' ORDER BY kafka_offset;
SELECT * FROM weir.audit('bad');

-- Columns change by ALTER TABLE; the next batch knows.
SELECT weir.create_stream('changing', 'a int, b int, c text', time_unit => 's');
SELECT * FROM weir.ingest('changing', '{"a": 1, "b": 2, "c": "three", "d": 4}'::text, kafka_timestamp => '2026-01-01Z');
ALTER TABLE changing ADD COLUMN d int DEFAULT 40;
SELECT * FROM weir.ingest('changing', ARRAY['{"a": 1, "b": 2, "c": "three", "d": 4}', '{"a": 5}'], kafka_timestamp => '2026-01-01Z');
ALTER TABLE changing DROP COLUMN b;
SELECT * FROM weir.ingest('changing', '{"a": 1, "b": 2, "c": "three", "d": 4}'::text, kafka_timestamp => '2026-01-01Z');
ALTER TABLE changing RENAME COLUMN c TO e;
SELECT * FROM weir.ingest('changing', '{"a": 1, "c": "old name", "e": "new name"}'::text, kafka_timestamp => '2026-01-01Z');
ALTER TABLE changing ALTER COLUMN a TYPE text USING 'a' || a;
SELECT * FROM weir.ingest('changing', '{"a": 1.50, "e": "numbers become text"}'::text, kafka_timestamp => '2026-01-01Z');
ALTER TABLE changing ALTER COLUMN d SET NOT NULL, ADD CONSTRAINT even CHECK (d % 2 = 0);
SELECT * FROM weir.ingest('changing', ARRAY['{"d": null}', '{"d": 3}', '{"d": 2}'], kafka_timestamp => '2026-01-01Z');
CREATE TYPE size AS ENUM ('small');
ALTER TABLE changing ADD COLUMN s size;
SELECT * FROM weir.ingest('changing', ARRAY['{"s": "small"}', '{"s": "large"}'], kafka_timestamp => '2026-01-01Z');
ALTER TYPE size ADD VALUE 'large';
SELECT * FROM weir.ingest('changing', ARRAY['{"s": "small"}', '{"s": "large"}'], kafka_timestamp => '2026-01-01Z');
ALTER TYPE size RENAME VALUE 'small' TO 'little';
SELECT * FROM weir.ingest('changing', ARRAY['{"s": "small"}', '{"s": "little"}'], kafka_timestamp => '2026-01-01Z');
ALTER TABLE changing RENAME COLUMN _extra TO extra;
ALTER TABLE changing DROP COLUMN _watermark;
SELECT * FROM weir.ingest('changing', '{"a": 1}'::text, kafka_timestamp => '2026-01-01Z');
SELECT * FROM changing ORDER BY _offset;
SELECT kafka_offset, error_stage, sqlstate, message, column_name, constraint_name FROM weir.dead_letters WHERE stream = 'changing' ORDER BY id;
SELECT * FROM weir.audit('changing');

-- Where Kafka's timestamp alone tells the time and none is given, it is the present.
SELECT accepted FROM weir.ingest('changing', '{"d": 222}'::text);
SELECT count(*) FROM changing WHERE d = 222 AND _timestamp BETWEEN now() - interval '1 minute' AND clock_timestamp();

DROP TABLE readings, kafka_readings, skipping, customers, keyed, typed, bad, changing;
DROP TYPE percent, required, mood, point3, size;
DROP SERVER nokafka;

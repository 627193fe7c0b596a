-- Streams: weir.create_stream, alter_stream, drop_stream.

-- A stream is a table with the columns given, and some that tell where an event came from.
SELECT weir.create_stream('sensors',
    columns => 'sensor_id int, temp float8 NOT NULL, ts timestamptz',
    event_time => 'ts', max_out_of_orderness => '5 seconds', partitions => 2);
\d sensors
SELECT stream_schema, stream, kind, format, event_time, max_out_of_orderness, max_future, idle_timeout,
    retention, start_from, paths, metadata, tombstones, isolation_level, on_data_loss, parallelism
FROM weir.catalog \gx
SELECT stream_schema, stream, state, worker, watermark, held_back_by, applied_offsets, consumed FROM weir.status;
-- the children that hold the rows are unlogged and go with the stream
SELECT c.relpersistence, c.relkind, c.relnamespace::regnamespace, c.reloptions
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'sensors'::regclass;

-- Names are read as in CREATE TABLE.
CREATE SCHEMA plant;
SELECT weir.create_stream('Plant.Folded', columns => 'a int');
SELECT weir.create_stream('plant."Qu""oted Näme"', columns => '"Col umn" int, "user" text');
SELECT weir.create_stream(repeat('x', 63), columns => 'a int');
SELECT weir.create_stream(repeat('y', 64), columns => 'a int');
SELECT accepted FROM weir.ingest('plant."Qu""oted Näme"', '{"Col umn": 1, "user": "u"}'::text, kafka_timestamp => '2026-01-01Z');
SELECT "Col umn", "user" FROM plant."Qu""oted Näme";
SELECT accepted FROM weir.ingest(repeat('x', 63)::regclass, '{"a": 1}'::text, kafka_timestamp => '2026-01-01Z');
SELECT count(*), sum(a) FROM xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx;
SELECT weir.create_stream('nowhere.s', columns => 'a int');
SELECT weir.create_stream('a.b.c', columns => 'a int');
SELECT weir.create_stream('', columns => 'a int');
SELECT weir.create_stream('pg_temp.s', columns => 'a int');
SET search_path = plant, public;
SELECT weir.create_stream('where_am_i', columns => 'a int');
RESET search_path;
SELECT relnamespace::regnamespace FROM pg_class WHERE relname = 'where_am_i';

-- A name that is taken
SELECT weir.create_stream('sensors', columns => 'a int');
SELECT weir.create_stream('sensors', columns => 'a int', if_not_exists => true);
CREATE TABLE plain (a int);
SELECT weir.create_stream('plain', columns => 'a int', if_not_exists => true);

-- What each parameter refuses, with its SQLSTATE.
CREATE FUNCTION try(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE 'SELECT weir.create_stream(' || arguments || ')';
    PERFORM weir.drop_stream('s');
    RETURN 'created';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', SQLSTATE || ' ' || message, nullif(detail, ''), nullif(hint, ''));
END
$$;
\t on
\pset format unaligned
SELECT try(a) FROM unnest(ARRAY[
    $$NULL, 'a int'$$,
    $$'s', NULL$$,
    $$'s', 'a int', topic => 't'$$,
    $$'s', 'a int', server => 'k'$$,
    $$'s', 'a int', server => 'k', topic => 't'$$,
    $$'s', 'a int', format => 'jsom'$$,
    $$'s', 'a int', format => NULL$$,
    $$'s', 'a int', key_format => 'avro'$$,
    $$'s', 'a int', key_columns => '{a}'$$,
    $$'s', 'a int', key_format => 'text', key_columns => '{b}'$$,
    $$'s', 'a int', key_format => 'text', key_columns => '{a,NULL}'$$,
    $$'s', 'a int, ts timestamptz', event_time => 'tss'$$,
    $$'s', 'a int, ts timestamp', event_time => 'ts'$$,
    $$'s', 'a int', max_out_of_orderness => '-1 s'$$,
    $$'s', 'a int', max_out_of_orderness => '1 month'$$,
    $$'s', 'a int', max_out_of_orderness => NULL$$,
    $$'s', 'a int', max_future => '-1 s'$$,
    $$'s', 'a int', idle_timeout => '1 year'$$,
    $$'s', 'a int', retention => '0'$$,
    $$'s', 'a int', retention => '-1 day'$$,
    $$'s', 'a int', start_from => 'yesterdy'$$,
    $$'s', 'a int', start_from => '{"p": 1}'$$,
    $$'s', 'a int', start_from => '{"0": -1}'$$,
    $$'s', 'a int', start_from => 'infinity'$$,
    $$'s', 'a int', paths => '[]'$$,
    $$'s', 'a int', paths => '{"b": "x.y"}'$$,
    $$'s', 'a int', paths => '{"a": ""}'$$,
    $$'s', 'a int', paths => '{"a": {"b": 1}}'$$,
    $$'s', 'a int', paths => '{"_offset": "o"}'$$,
    $$'s', 'a int', time_unit => 'ns'$$,
    $$'s', 'a int', column_options => '{"b": {"time_unit": "s"}}'$$,
    $$'s', 'a int', column_options => '{"a": {"unit": "s"}}'$$,
    $$'s', 'a int', column_options => '{"a": {"time_unit": "h"}}'$$,
    $$'s', 'a int', metadata => '{keys}'$$,
    $$'s', 'a int', metadata => NULL$$,
    $$'s', 'a int', tombstones => 'keep'$$,
    $$'s', 'a int', tombstones => 'row'$$,
    $$'s', 'a int', isolation_level => 'serializable'$$,
    $$'s', 'a int', on_data_loss => 'weep'$$,
    $$'s', 'a int', parallelism => 0$$,
    $$'s', 'a int', partitions => 0$$,
    $$'s', 'a int', partitions => 10001$$,
    $$'s', 'a int', batch_rows => 0$$,
    $$'s', 'a int', batch_bytes => 1$$,
    $$'s', 'a int', batch_interval => '-1 ms'$$]) a;

-- columns is a list of columns: nothing else passes, and nothing that children could not keep.
SELECT try(format('%L, %L', 's', c)) FROM unnest(ARRAY[
    '',
    'a int,',
    'a',
    'a nosuchtype',
    'a int, a int',
    'a int, _offset int',
    'a int) INHERITS (plain',
    'a int); DROP TABLE plain; --',
    'a int) AS SELECT 1 --',
    'a int -- comment',
    'a int /* open',
    'LIKE plain',
    'a int PRIMARY KEY',
    'a int UNIQUE',
    'a int, UNIQUE (a)',
    'a int REFERENCES plain (a)',
    'a int GENERATED ALWAYS AS IDENTITY',
    'a serial',
    'a int, EXCLUDE USING btree (a WITH =)',
    'a int GENERATED ALWAYS AS (b) STORED']) c;
\t off
\pset format aligned
SELECT to_regclass('plain'), to_regclass('s');

-- NOT NULL, CHECK, DEFAULT, COLLATE and generated columns are kept; metadata adds columns.
SELECT weir.create_stream('full_stream',
    columns => 'id int NOT NULL, name text COLLATE "C" DEFAULT ''x'', price numeric(8,2) CHECK (price > 0),
        doubled numeric GENERATED ALWAYS AS (price * 2) STORED, CONSTRAINT sane CHECK (id < 1000)',
    metadata => '{key,headers,topic,ingested_at}');
\d full_stream
-- where tombstones are rows, NOT NULL is asked of the others only
SELECT weir.create_stream('with_tombstones', columns => 'id int NOT NULL, v text NOT NULL',
    key_format => 'json', key_columns => '{id}', metadata => '{key}', tombstones => 'row');
\d with_tombstones

-- Options change by alter_stream, columns by ALTER TABLE.
SELECT weir.alter_stream('sensors', max_out_of_orderness => '1 second', retention => '2 hours',
    paths => '{"temp": "t.celsius"}', tombstones => 'skip', batch_rows => 500);
SELECT max_out_of_orderness, retention, paths, tombstones, batch_rows, max_future FROM weir.catalog WHERE stream = 'sensors';
SELECT accepted FROM weir.ingest('sensors', '{"sensor_id": 1, "t": {"celsius": 20.5}, "ts": "2026-01-01T00:00:00Z"}'::text);
SELECT temp, _extra FROM sensors;
SELECT weir.alter_stream('sensors', retention => '-1 hour');
SELECT weir.alter_stream('sensors', tombstones => 'row');
SELECT weir.alter_stream('sensors', paths => '{"nocolumn": "a"}');
SELECT weir.alter_stream('plain', retention => '1 hour');
SELECT weir.alter_stream(NULL);
SELECT paths FROM weir.catalog WHERE stream = 'sensors';

-- A stream without Kafka is neither started nor stopped.
SELECT weir.start('sensors');
SELECT weir.stop('sensors');

SELECT * FROM weir.audit('sensors');

-- Gone with all that belonged to it.
SELECT weir.drop_stream('sensors');
SELECT weir.drop_stream('full_stream');
SELECT weir.drop_stream('plain');
SELECT count(*) FROM weir.stream_stats WHERE stream = 'sensors';
SELECT count(*) FROM weir_internal.chunk WHERE stream::text ~ '^[0-9]+$';
SELECT count(*) FROM pg_class WHERE relname LIKE 'sensors%';

DROP SCHEMA plant CASCADE;
DROP FUNCTION try;
DROP TABLE plain, with_tombstones, xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx,
    yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy;
SELECT count(*) FROM weir.catalog;

-- Dead letters: what could not be applied, whole, with the reason; and sending it through again.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT weir.create_stream('s', 'id int NOT NULL, kind text, price numeric(6,2) CHECK (price > 0), ts timestamptz',
    event_time => 'ts', key_format => 'json', key_columns => '{id}', metadata => '{key,headers}', partitions => 2);
CREATE TABLE seen (id int, kind text, _partition int, _offset bigint);
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM n WHERE kind = 'poison') THEN
        RAISE EXCEPTION 'poison' USING DETAIL = 'do not drink', ERRCODE = '22023';
    END IF;
    INSERT INTO seen SELECT id, kind, _partition, _offset FROM n;
    RETURN NULL;
END
$$;
CREATE TRIGGER look AFTER INSERT ON s REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION look();
CREATE UNIQUE INDEX s_kind ON s (kind);

-- Every stage has its example.
SELECT * FROM weir.ingest('s', 'no json'::text, key => '{"id": 1}', headers => '{"h": "v"}', kafka_timestamp => '2026-01-01 00:00:01Z');
SELECT * FROM weir.ingest('s', '{"kind": "a"}'::text, key => 'no json');
SELECT * FROM weir.ingest('s', '{"price": "cheap"}'::text, key => '{"id": 2}');
SELECT * FROM weir.ingest('s', '{"price": -1}'::text, key => '{"id": 3}');
SELECT * FROM weir.ingest('s', '{"kind": "b"}'::text, key => '{"id": null}');
SELECT * FROM weir.ingest('s', '{"kind": "c"}'::text, key => '{"id": 4}');
SELECT * FROM weir.ingest('s', NULL::text, key => '{"id": 5}', partition => 1);
SELECT * FROM weir.ingest('s', '{"kind": "poison", "ts": "2026-01-01T00:00:06Z"}'::text, key => '{"id": 6}', partition => 1);
SELECT * FROM weir.ingest('s', '{"kind": "good", "ts": "2026-01-01T00:00:07Z"}'::text, key => '{"id": 7}', partition => 1);
SELECT * FROM weir.ingest('s', '{"kind": "good", "ts": "2026-01-01T00:00:08Z"}'::text, key => '{"id": 8}', partition => 1);
SELECT partition, kafka_offset, kafka_timestamp, key, convert_from(value, 'UTF8') AS value, headers,
    error_stage, sqlstate, message, detail, column_name, constraint_name, object_name, replayed_at
FROM weir.dead_letters ORDER BY id \gx
SELECT failed_at <= clock_timestamp() AS failed FROM weir.dead_letters WHERE kafka_offset = 0 AND partition = 0;
SELECT * FROM weir.audit('s');
-- bytes are kept as they came, even what no text could hold
SELECT weir.create_stream('raw', 'a int', metadata => '{key}');
SELECT dead_lettered FROM weir.ingest('raw', '\x00ff80'::bytea, key => '\xfe00');
SELECT dead_lettered FROM weir.ingest('raw', ''::bytea, key => '');
SELECT key, value, key IS NULL AS no_key FROM weir.dead_letters WHERE stream = 'raw' ORDER BY id;
-- many in one batch
SELECT accepted, dead_lettered FROM weir.ingest('raw', (SELECT array_agg(CASE WHEN n % 10 = 0 THEN '{"a": ' || n || '}' ELSE 'x' || n END ORDER BY n)
    FROM generate_series(1, 5000) n), kafka_timestamp => '2026-01-01Z');
SELECT count(*), count(DISTINCT kafka_offset), min(convert_from(value, 'UTF8')) FROM weir.dead_letters WHERE stream = 'raw' AND kafka_offset >= 2;
SELECT count(*), sum(a) FROM raw;

-- Replayed, those fail again whose cause is still there; nothing is counted twice.
SELECT * FROM weir.replay_dead_letters('s');
SELECT count(*) FROM weir.dead_letters WHERE stream = 's' AND replayed_at IS NULL;
SELECT * FROM weir.audit('s');
-- a filter chooses, a transform mends; partition, offset and all the rest stay
SELECT * FROM weir.replay_dead_letters('s', filter => $$error_stage = 'trigger'$$,
    transform => $$jsonb_set(convert_from(value, 'UTF8')::jsonb, '{kind}', '"cured"')$$);
SELECT id, kind, _partition, _offset, _timestamp, _watermark, _key, _headers FROM s ORDER BY _partition, _offset;
SELECT * FROM seen ORDER BY _partition, _offset;
SELECT kafka_offset, convert_from(value, 'UTF8') AS value, replayed_at IS NOT NULL AS replayed FROM weir.dead_letters
WHERE stream = 's' AND error_stage = 'trigger';
SELECT convert_from(replayed_value, 'UTF8') AS replayed_value FROM weir_internal.dead_letter WHERE replayed_value IS NOT NULL;
-- once is enough
SELECT * FROM weir.replay_dead_letters('s', filter => $$error_stage = 'trigger'$$);
-- its event takes the partition's watermark as it is now, and moves nothing
SELECT partition, watermark, applied_offset FROM weir.stream_stats WHERE stream = 's' ORDER BY 1;
SELECT * FROM weir.replay_dead_letters('s', 'kafka_offset = 3 AND partition = 0', $$'{"price": 3, "ts": "2026-06-01T00:00:00Z"}'$$);
SELECT * FROM weir.replay_dead_letters('s', 'error_stage = ''tombstone''', $$convert_to('{"price": 4, "ts": "2026-01-01T00:00:00Z"}', 'UTF8')$$);
SELECT partition, watermark, applied_offset FROM weir.stream_stats WHERE stream = 's' ORDER BY 1;
SELECT id, price, ts, _partition, _offset, _watermark FROM s WHERE price IN (3, 4) ORDER BY price;
-- headers, key and timestamp come along
SELECT * FROM weir.replay_dead_letters('s', 'error_stage = ''decode''', $$'{"ts": "2026-01-01T00:00:00Z"}'::jsonb$$);
SELECT id, _offset, _timestamp, _key, _headers FROM s WHERE id = 1;
-- a definition corrected, the rest may go through
ALTER TABLE s DROP CONSTRAINT s_price_check;
DROP INDEX s_kind;
SELECT * FROM weir.replay_dead_letters('s', transform => $$CASE WHEN error_stage = 'event_time' THEN '{"kind": "late", "ts": "2026-01-01T00:00:00Z"}' END$$);
SELECT id, kind, price, _partition, _offset FROM s ORDER BY _partition, _offset;
SELECT partition, kafka_offset, error_stage, message, replayed_at IS NOT NULL AS replayed FROM weir.dead_letters WHERE stream = 's' ORDER BY id;
SELECT * FROM weir.audit('s');

-- Errors of what was asked for
\set VERBOSITY terse
SELECT * FROM weir.replay_dead_letters('s', filter => 'nosuchcolumn = 1');
SELECT * FROM weir.replay_dead_letters('s', filter => 'id = 1); DROP TABLE seen; --');
SELECT * FROM weir.replay_dead_letters('s', filter => 'true) UNION ALL SELECT (true');
SELECT * FROM weir.replay_dead_letters('s', filter => 'true) ORDER BY (1');
SELECT * FROM weir.replay_dead_letters('s', transform => 'NULL), (value');
SELECT * FROM weir.replay_dead_letters('s', transform => 'NULL) FROM (SELECT 1) AS x WHERE (true');
-- whatever the filter says, other streams' letters are not meant
SELECT * FROM weir.replay_dead_letters('s', filter => 'true) OR (true');
SELECT * FROM weir.replay_dead_letters('s', transform => '42');
SELECT * FROM weir.replay_dead_letters('s', transform => '1 / 0');
SELECT * FROM weir.replay_dead_letters('s', filter => '');
SELECT * FROM weir.replay_dead_letters('seen');
SELECT * FROM weir.replay_dead_letters(NULL);
SELECT count(*) FROM seen;
\set VERBOSITY default
-- an error of the environment leaves all as it was
CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'disk full' USING ERRCODE = '53100';
END
$$;
SELECT * FROM weir.replay_dead_letters('s', transform => $$'{"ts": "2026-01-01T00:00:00Z"}'$$);
SELECT count(*) FROM weir.dead_letters WHERE stream = 's' AND replayed_at IS NULL;

-- Replaying many.
ALTER TABLE raw ALTER COLUMN a TYPE text;
SELECT * FROM weir.replay_dead_letters('raw', 'kafka_offset >= 2', $$jsonb_build_object('a', convert_from(value, 'UTF8'))$$);
SELECT count(*), count(DISTINCT _offset) FROM raw;
SELECT * FROM weir.audit('raw');

-- They go with the stream.
DROP TABLE s, raw, seen;
DROP FUNCTION look;
SELECT count(*) FROM weir_internal.dead_letter;

-- What a refill after a crash goes by: where each child's offsets begin and
-- with which watermark, and which offsets gave no row.
SET timezone = 'UTC';
SELECT weir.create_stream('readings', 'id int NOT NULL, ts timestamptz', event_time => 'ts', time_unit => 's',
    max_out_of_orderness => '4 s', retention => '1 hour', partitions => 2);

-- Decodes as verdict.c does: the offsets, or why each of them was skipped.
CREATE FUNCTION skipped(first_offset bigint, last_offset bigint, code bytea, why boolean) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    at bigint := first_offset;
    number bigint := 0;
    shift int := 0;
    is_gap boolean := true;
    result bigint[] := '{}';
BEGIN
    FOR i IN 0 .. length(code) - 1 LOOP
        number := number | ((get_byte(code, i) & 127)::bigint << shift);
        shift := shift + 7;
        CONTINUE WHEN get_byte(code, i) > 127;
        IF NOT is_gap THEN
            SELECT result || array_agg(CASE WHEN why THEN number & 7 ELSE o END) INTO result
            FROM generate_series(at, at + (number >> 3) - 1) o WHERE o <= last_offset;
            number := number >> 3;
        END IF;
        at := at + number;
        number := 0;
        shift := 0;
        is_gap := NOT is_gap;
    END LOOP;
    RETURN result;
END $$;
CREATE VIEW ranges AS
    SELECT (SELECT count(*) FROM weir_internal.chunk k2 WHERE k2.stream = c.stream AND k2.created_at <= k.created_at) AS child,
           c.partition, c.first_offset, c.end_offset, extract(epoch FROM c.watermark) AS watermark,
           extract(epoch FROM c.seen) AS seen, c.max_out_of_orderness AS b
    FROM weir_internal.chunk_checkpoint c JOIN weir_internal.chunk k USING (chunk)
    WHERE c.stream = 'readings'::regclass;
CREATE VIEW verdicts AS
    SELECT partition, first_offset, last_offset, length(skipped) AS bytes,
           skipped(first_offset, last_offset, skipped, why => false)
    FROM weir_internal.verdict WHERE stream = 'readings'::regclass;

-- Nothing is noted before there are messages.
SELECT * FROM ranges;
SELECT accepted, dead_lettered FROM weir.ingest('readings', ARRAY['{"id": 1, "ts": 25}', 'broken', '{"id": 2, "ts": 3}']);
SELECT accepted, dead_lettered FROM weir.ingest('readings', '{"id": 3, "ts": 40}'::text);
SELECT accepted, dead_lettered FROM weir.ingest('readings', ARRAY['{"id": 4, "ts": 7}', '{"id": "x"}', '{"ts": 1}'], partition => 1);
SELECT * FROM ranges ORDER BY partition, first_offset;
SELECT * FROM verdicts ORDER BY partition, first_offset;

-- What is rolled back is not noted, and is noted the next time.
UPDATE weir_internal.chunk SET created_at = created_at - interval '8 minutes' WHERE stream = 'readings'::regclass;
SELECT accepted FROM weir.ingest('readings', '{"id": 5, "ts": 41}'::text);
BEGIN;
SELECT accepted FROM weir.ingest('readings', ARRAY['{"id": 6, "ts": 60}', 'broken']);
SELECT accepted FROM weir.ingest('readings', '{"id": 7, "ts": 61}'::text);
SELECT * FROM ranges WHERE child = 2;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT accepted FROM weir.ingest('readings', '{"id": 8, "ts": 62}'::text);
ROLLBACK TO s;
SELECT accepted FROM weir.ingest('readings', '{"id": 9, "ts": 63}'::text);
COMMIT;
SELECT accepted FROM weir.ingest('readings', '{"id": 10, "ts": 64}'::text);
SELECT * FROM ranges WHERE partition = 0 ORDER BY first_offset;

-- Another disorder is another range, and back again a third one.
SELECT weir.alter_stream('readings', max_out_of_orderness => '10 s');
SELECT accepted FROM weir.ingest('readings', '{"id": 11, "ts": 65}'::text);
SELECT weir.alter_stream('readings', max_out_of_orderness => '4 s');
SELECT accepted FROM weir.ingest('readings', '{"id": 12, "ts": 66}'::text);
SELECT weir.alter_stream('readings', batch_rows => 10);
SELECT accepted FROM weir.ingest('readings', '{"id": 13, "ts": 67}'::text);
SELECT * FROM ranges WHERE partition = 0 ORDER BY first_offset;

-- So it is after a while: where Kafka has lost some, less cannot be refilled.
UPDATE weir_internal.chunk_checkpoint SET noted_at = noted_at - interval '30 s' WHERE stream = 'readings'::regclass;
SELECT weir.alter_stream('readings', batch_rows => 20);
SELECT accepted FROM weir.ingest('readings', '{"id": 14, "ts": 68}'::text);
SELECT count(*) FROM ranges WHERE partition = 0;
UPDATE weir_internal.chunk_checkpoint SET noted_at = noted_at - interval '30 s' WHERE stream = 'readings'::regclass;
SELECT weir.alter_stream('readings', batch_rows => 30);
SELECT accepted FROM weir.ingest('readings', '{"id": 15, "ts": 69}'::text);
SELECT * FROM ranges WHERE partition = 0 ORDER BY first_offset;

-- The log is compact: a range of any length takes a few bytes.
SELECT accepted, dead_lettered FROM weir.ingest('readings',
    (SELECT array_agg(CASE WHEN n BETWEEN 100 AND 899 OR n % 50 = 0 THEN 'broken' ELSE '{"id": 0, "ts": 70}' END ORDER BY n)
     FROM generate_series(1, 1000) n), partition => 1);
SELECT partition, first_offset, last_offset, bytes, cardinality(skipped) FROM verdicts WHERE partition = 1 ORDER BY first_offset;
SELECT count(*) FROM weir.dead_letters l WHERE stream = 'readings' AND NOT EXISTS (
    SELECT FROM verdicts v WHERE v.partition = l.partition AND l.kafka_offset = ANY (v.skipped));
SELECT count(*) FROM readings r JOIN verdicts v ON v.partition = r._partition AND r._offset = ANY (v.skipped);

-- So it is where a trigger refuses single events.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 / (id - 20) FROM n;
    RETURN NULL;
END $$;
CREATE TRIGGER refuse AFTER INSERT ON readings REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION refuse();
SELECT accepted, dead_lettered FROM weir.ingest('readings', ARRAY['{"id": 19, "ts": 70}', '{"id": 20, "ts": 70}', 'broken',
    '{"id": 21, "ts": 70}', '{"id": 20, "ts": 70}']);
SELECT * FROM verdicts WHERE partition = 0 ORDER BY first_offset DESC LIMIT 1;
DROP TRIGGER refuse ON readings;

-- A tombstone that is skipped is another reason (1) than a dead letter (0).
SELECT weir.create_stream('skipping', 'id int', partitions => 1, tombstones => 'skip');
SELECT accepted, dead_lettered FROM weir.ingest('skipping', ARRAY['{"id": 1}', NULL, NULL, 'broken', 'broken', NULL, '{"id": 2}', 'broken']);
SELECT length(skipped) AS bytes, skipped(first_offset, last_offset, skipped, why => false),
       skipped(first_offset, last_offset, skipped, why => true) AS why
FROM weir_internal.verdict WHERE stream = 'skipping'::regclass;
DROP TABLE skipping;

-- A dead letter that is replayed knows its row; it is not purged before that.
SELECT * FROM weir.replay_dead_letters('readings', filter => 'partition = 0 AND error_stage = ''trigger''');
SELECT _offset, extract(epoch FROM _watermark) AS watermark, replayed_chunk = r.tableoid AS child, replayed_watermark = _watermark AS same,
       replayed_generation
FROM readings r JOIN weir_internal.dead_letter l ON l.partition = r._partition AND l.kafka_offset = r._offset ORDER BY 1;

-- All that goes with the child.
SELECT count(*) FROM weir_internal.staging_marker m JOIN weir_internal.stream USING (stream)
WHERE stream = 'readings'::regclass AND generation = staging_generation;
-- Floors as after idleness: before the first range that is left, within it, yet to come.
CREATE VIEW floors AS
    SELECT partition, from_offset, extract(epoch FROM floor) AS floor FROM weir_internal.watermark_floor
    WHERE stream = 'readings'::regclass ORDER BY partition, from_offset;
INSERT INTO weir_internal.watermark_floor (stream, partition, from_offset, floor)
SELECT 'readings', partition, unnest(ARRAY[0, applied_offset - 1, applied_offset]), to_timestamp(30)
FROM weir_internal.stream_partition WHERE stream = 'readings'::regclass AND partition IN (0, 1);
SELECT * FROM floors;
UPDATE weir_internal.chunk SET created_at = created_at - interval '61 minutes', closed_at = closed_at - interval '61 minutes'
WHERE stream = 'readings'::regclass;
SELECT accepted FROM weir.ingest('readings', '{"id": 14, "ts": 100}'::text);
SELECT accepted FROM weir.ingest('readings', '{"id": 15, "ts": 100}'::text);
SELECT child, partition, first_offset, watermark, seen FROM ranges ORDER BY partition, first_offset;
SELECT * FROM floors;
UPDATE weir_internal.chunk SET closed_at = closed_at - interval '61 minutes' WHERE stream = 'readings'::regclass;
SELECT accepted FROM weir.ingest('readings', '{"id": 16, "ts": 101}'::text);
SELECT child, partition, watermark, seen FROM ranges ORDER BY partition, first_offset;
SELECT * FROM floors;
SELECT * FROM verdicts;
SELECT count(*) FROM weir_internal.dead_letter WHERE replayed_chunk IS NOT NULL;

DROP VIEW ranges, verdicts, floors;
DROP FUNCTION skipped, refuse;
DROP TABLE readings;
SELECT s AS left_behind FROM (SELECT stream FROM weir_internal.chunk_checkpoint UNION SELECT stream FROM weir_internal.verdict
    UNION SELECT stream FROM weir_internal.staging_marker) t (s) WHERE s::text ~ '^[0-9]+$';

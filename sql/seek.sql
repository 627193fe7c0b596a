-- weir.seek and weir.wait, as far as no broker is needed.
SET client_min_messages = warning;
\set VERBOSITY default
CREATE SERVER seek_kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE ROLE regress_seek_reader;
SELECT weir.create_stream('far', columns => 'n int', server => 'seek_kafka', topic => 'far');
SELECT weir.create_stream('near', columns => 'n int');
CREATE TABLE plain (n int);

-- A stream that has consumed nothing begins elsewhere.
SELECT weir.seek('far', 'LATEST');
SELECT start_from FROM weir.catalog WHERE stream = 'far';
SELECT weir.seek('far', '{"0": 12, "1": 0}');
SELECT start_from FROM weir.catalog WHERE stream = 'far';

-- A time is read in the session's time zone, and means the same in any other.
SET timezone = 'Europe/Berlin';
SELECT weir.seek('far', '2026-07-01 12:00');
SET timezone = 'UTC';
SELECT start_from::timestamptz FROM weir.catalog WHERE stream = 'far';

-- What makes no sense
SELECT weir.seek('far', '');
SELECT weir.seek('far', 'infinity');
SELECT weir.seek('far', '{"0": -1}');
SELECT weir.seek('far', '{"00": 1}');
SELECT weir.seek('far', '{"a": 1}');
SELECT weir.seek('far', '{"0": "1"}');
SELECT weir.seek('far', NULL);
SELECT weir.seek(NULL, 'earliest');
SELECT weir.seek('far', 'earliest', reset => NULL);
SELECT weir.seek('near', 'earliest');
SELECT weir.seek('near', 'earliest', reset => true);
SELECT weir.seek('plain', 'earliest');
SELECT start_from::timestamptz FROM weir.catalog WHERE stream = 'far';

-- Waiting for a stream that nothing is read into
SELECT weir.wait('near');
SELECT weir.wait('far');
SELECT weir.wait('plain');
SELECT weir.wait(NULL);
SELECT weir.wait('far', NULL);
SELECT weir.wait('far', '-1 s');
SELECT weir.wait('far', '1 month');

-- Rights: SELECT to wait, the owner's to seek
SET ROLE regress_seek_reader;
SELECT weir.wait('near');
SELECT weir.seek('far', 'latest');
RESET ROLE;
GRANT SELECT ON near TO regress_seek_reader;
SET ROLE regress_seek_reader;
SELECT weir.wait('near');
RESET ROLE;

-- Nothing of a seek is left when it is rolled back.
BEGIN;
SELECT weir.seek('far', 'latest');
ROLLBACK;
SELECT start_from::timestamptz FROM weir.catalog WHERE stream = 'far';

-- With reset everything goes that was made of events; without Kafka's, no broker is asked.
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER noted AFTER INSERT ON far FOR EACH STATEMENT EXECUTE FUNCTION noted();
SET client_min_messages = notice;
SELECT accepted, dead_lettered FROM weir.ingest('far', ARRAY['{"n": 1}', 'broken', '{"n": 2}', 'broken, too'], kafka_timestamp => '2026-01-01');
SELECT applied FROM weir.replay_dead_letters('far', 'value = ''broken''', $$ '{"n": 3}' $$);
CREATE VIEW all_of_it AS SELECT
    (SELECT string_agg(format('%s@%s', n, _offset), ', ' ORDER BY _offset) FROM far) AS rows,
    (SELECT count(*) FROM weir_internal.chunk WHERE stream = 'far'::regclass) AS children,
    (SELECT count(*) FROM weir_internal.chunk_checkpoint WHERE stream = 'far'::regclass) AS checkpoints,
    (SELECT count(*) FROM weir_internal.verdict WHERE stream = 'far'::regclass) AS verdicts,
    (SELECT string_agg(format('%s%s', kafka_offset, CASE WHEN replayed_at IS NOT NULL THEN ' replayed' END), ', ' ORDER BY kafka_offset)
     FROM weir.dead_letters WHERE stream = 'far') AS letters,
    (SELECT format('%s = %s + %s, %s replayed', consumed, staged, dead_lettered, replayed) FROM weir.audit('far')) AS books,
    (SELECT isfinite(watermark) FROM weir.stream_stats WHERE stream = 'far') AS watermark;
SELECT * FROM all_of_it;
BEGIN;
SELECT weir.seek('far', 'earliest', reset => true);
SELECT * FROM all_of_it;
ROLLBACK;
SELECT * FROM all_of_it;
SELECT weir.seek('far', '{"0": 7}', reset => true);
SELECT * FROM all_of_it;
SELECT start_from FROM weir.catalog WHERE stream = 'far';

-- It goes on; offsets are not used twice, and what was replayed is not replayed again.
SELECT accepted, dead_lettered FROM weir.ingest('far', ARRAY['{"n": 4}', 'broken again'], kafka_timestamp => '2026-01-01');
SELECT applied FROM weir.replay_dead_letters('far', transform => $$ '{"n": 5}' $$);
SELECT * FROM all_of_it;

-- Twice is as once, also in one transaction, with rows between.
BEGIN;
SELECT weir.seek('far', 'latest', reset => true);
SELECT accepted FROM weir.ingest('far', '{"n": 6}'::text, kafka_timestamp => '2026-01-01');
SELECT weir.seek('far', 'latest', reset => true);
SELECT accepted FROM weir.ingest('far', '{"n": 7}'::text, kafka_timestamp => '2026-01-01');
COMMIT;
SELECT * FROM all_of_it;

-- A table that inherits from it is its owner's business.
CREATE TABLE heir (m int) INHERITS (far);
INSERT INTO heir (n, m, _partition, _offset, _watermark) VALUES (1, 2, 0, 0, '-infinity');
SELECT weir.seek('far', 'latest', reset => true);
SELECT n, m FROM heir;
DROP TABLE heir;
SELECT accepted FROM weir.ingest('far', '{"n": 8}'::text, kafka_timestamp => '2026-01-01');

-- Not while somebody reads or writes it in this very session
BEGIN;
DECLARE reading CURSOR FOR SELECT n FROM far;
FETCH reading;
\set VERBOSITY sqlstate
SELECT weir.seek('far', 'latest', reset => true);
\set VERBOSITY default
ROLLBACK;
CREATE FUNCTION resets() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM weir.seek('far', 'latest', reset => true); RETURN NULL; END $$;
CREATE TRIGGER resets AFTER INSERT ON far FOR EACH STATEMENT EXECUTE FUNCTION resets();
SELECT accepted FROM weir.ingest('far', '{"n": 8}'::text, kafka_timestamp => '2026-01-01');
DROP TRIGGER resets ON far;
SET client_min_messages = warning;

-- Once events of Kafka's are consumed, the broker is asked where things are.  This one is not there.
INSERT INTO weir_internal.stream_partition (stream, partition, applied_offset, consumed, staged) VALUES ('far'::regclass, 0, 10, 10, 10);
\set VERBOSITY sqlstate
SELECT weir.seek('far', 'earliest', reset => true);
SELECT weir.seek('far', '{"0": 5}', reset => true);
\set VERBOSITY default

-- What is passed over is on record, for those who may see the stream.
INSERT INTO weir_internal.gap (stream, partition, from_offset, to_offset, cause, recorded_by) VALUES
    ('far'::regclass, 0, 3, 5, 'seek', 'somebody'), ('far'::regclass, 0, 8, 10, 'retention', NULL), ('far'::regclass, -1, 0, NULL, 'cluster', NULL);
SELECT partition, from_offset, to_offset, offsets, cause, recorded_by, void_since FROM weir.gaps WHERE stream = 'far' ORDER BY partition, from_offset;
SELECT partition, gap FROM weir.stream_stats WHERE stream = 'far' ORDER BY partition;
SET ROLE regress_seek_reader;
SELECT count(*) FROM weir.gaps;
RESET ROLE;
DROP VIEW all_of_it;

-- It takes the owner, and no more than that.
GRANT USAGE ON FOREIGN SERVER seek_kafka TO regress_seek_reader;
GRANT CREATE ON SCHEMA public TO regress_seek_reader;
SET ROLE regress_seek_reader;
SELECT weir.seek('far', 'earliest', reset => true);
SELECT weir.create_stream('own', columns => 'n int', server => 'seek_kafka', topic => 'own');
SELECT accepted FROM weir.ingest('own', '{"n": 1}'::text, kafka_timestamp => '2026-01-01');
SELECT weir.seek('own', 'earliest', reset => true);
SELECT count(*) FROM own;
SELECT weir.drop_stream('own');
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM regress_seek_reader;
REVOKE USAGE ON FOREIGN SERVER seek_kafka FROM regress_seek_reader;

-- A consumer group that is told how far a stream is: its name is checked.
SELECT weir.alter_stream('far', commit_to_group => 'reporting');
SELECT commit_to_group FROM weir.catalog WHERE stream = 'far';
SELECT weir.alter_stream('far', parallelism => 2);
SELECT commit_to_group FROM weir.catalog WHERE stream = 'far';
SELECT weir.alter_stream('far', commit_to_group => repeat('x', 250));
SELECT weir.alter_stream('far', commit_to_group => E'two\nlines');
SELECT weir.alter_stream('near', commit_to_group => 'reporting');
SELECT weir.create_stream('nearby', columns => 'n int', commit_to_group => 'reporting');
SELECT weir.create_stream('farther', columns => 'n int', server => 'seek_kafka', topic => 'far', commit_to_group => '');
SELECT weir.create_stream('farther', columns => 'n int', server => 'seek_kafka', topic => 'far', commit_to_group => 'reporting');
SELECT weir.create_stream('farther', columns => 'n int', server => 'seek_kafka', topic => 'farther', commit_to_group => 'reporting');
SELECT weir.alter_stream('far', commit_to_group => '');
SELECT stream, commit_to_group FROM weir.catalog WHERE stream LIKE 'far%' ORDER BY stream;

SELECT weir.drop_stream('farther');
SELECT weir.drop_stream('far');
SELECT count(*) FROM weir_internal.gap;
DROP FUNCTION noted, resets;
SELECT weir.drop_stream('near');
DROP TABLE plain;
DROP SERVER seek_kafka;
DROP ROLE regress_seek_reader;

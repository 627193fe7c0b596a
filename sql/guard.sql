-- What plain SQL may do to a stream, and what it may not.
SELECT weir.create_stream('s', 'id int, ts timestamptz DEFAULT ''2026-01-01Z''', event_time => 'ts');
SELECT accepted FROM weir.ingest('s', ARRAY['{"id": 1}', '{"id": 2}', 'broken']);
SELECT inhrelid::regclass AS chunk FROM pg_inherits WHERE inhparent = 's'::regclass \gset

-- Events come by weir.ingest alone, and do not change.
INSERT INTO s (id) VALUES (3);
INSERT INTO s SELECT * FROM s WHERE false;
COPY s (id) FROM STDIN;
4
\.
UPDATE s SET id = 5;
DELETE FROM s;
DELETE FROM ONLY s WHERE id = 1;
TRUNCATE s;
TRUNCATE ONLY s;
MERGE INTO s USING (VALUES (1), (9)) v (id) ON s.id = v.id
    WHEN MATCHED THEN UPDATE SET id = 10 WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id);
WITH w AS (DELETE FROM s RETURNING id) SELECT * FROM w;
-- neither in its children
INSERT INTO :chunk (id) VALUES (3);
COPY :chunk (id) FROM STDIN;
4
\.
UPDATE :chunk SET id = 5;
DELETE FROM :chunk;
TRUNCATE :chunk;
-- nor where triggers are silent
SET session_replication_role = replica;
INSERT INTO s (id) VALUES (3);
DELETE FROM s;
RESET session_replication_role;
-- the guard is for streams
CREATE TABLE plain (a int);
CREATE TRIGGER guard BEFORE INSERT ON plain FOR EACH STATEMENT EXECUTE FUNCTION weir_internal.guard_staging();
INSERT INTO plain VALUES (1);
SELECT weir_internal.guard_staging();
-- nor does a trigger of the stream's own slip in
CREATE FUNCTION slip_in() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO s (id, _partition, _offset, _watermark) VALUES (99, 0, 99, now());
    RETURN NULL;
END
$$;
CREATE TRIGGER before_all BEFORE INSERT ON s FOR EACH STATEMENT EXECUTE FUNCTION slip_in();
SELECT accepted FROM weir.ingest('s', '{"id": 3}'::text);
DROP TRIGGER before_all ON s;
DROP FUNCTION slip_in;
-- Constraints that could not be kept are refused when they are added, too.
\set SHOW_CONTEXT never
ALTER TABLE s ADD PRIMARY KEY (id);
ALTER TABLE s ADD UNIQUE (id);
\set SHOW_CONTEXT errors
ALTER TABLE s ADD CHECK (id < 1000);
SELECT id FROM s ORDER BY id;
SELECT * FROM weir.audit('s');

-- Locks, VACUUM, ANALYZE and the like are nobody's harm.
LOCK TABLE s IN ACCESS SHARE MODE;
VACUUM (FREEZE) s;
ANALYZE s;
CLUSTER s USING nosuchindex;
REINDEX TABLE s;
SELECT count(*) FROM s;

-- Indexes are copied to the children there are and those to come, and go together.
CREATE INDEX s_id ON s (id) WHERE id > 1;
CREATE INDEX s_expr ON s ((id % 10) DESC, ts) INCLUDE (_offset);
CREATE INDEX s_hash ON s USING hash (id);
SELECT regexp_replace(pg_get_indexdef(indexrelid), '^(.*) ON (\S+) ', '\1 ON … ') FROM pg_index WHERE indrelid = :'chunk'::regclass ORDER BY indexrelid;
SELECT count(*) FROM pg_index WHERE indrelid = 's'::regclass;
SET enable_seqscan = off;
SELECT id FROM s WHERE id = 2 AND id > 1;
RESET enable_seqscan;
ALTER INDEX s_id RENAME TO s_id_renamed;
DROP INDEX s_id_renamed;
SELECT count(*) FROM pg_index WHERE indrelid = :'chunk'::regclass;
DROP TABLE :chunk;
SELECT accepted FROM weir.ingest('s', ARRAY['{"id": 1}', '{"id": 2}']);
SELECT inhrelid::regclass AS chunk FROM pg_inherits WHERE inhparent = 's'::regclass \gset
SELECT regexp_replace(pg_get_indexdef(indexrelid), '^(.*) ON (\S+) ', '\1 ON … ') FROM pg_index WHERE indrelid = :'chunk'::regclass ORDER BY indexrelid;
CREATE UNIQUE INDEX s_unique ON s (id);
SELECT * FROM weir.ingest('s', ARRAY['{"id": 2}', '{"id": 3}', '{"id": 3}', '{"id": 4}']);
SELECT id FROM s ORDER BY id;

-- A stream may be renamed and moved; what is derived from it comes along.
CREATE VIEW v AS SELECT id FROM s;
ALTER TABLE s RENAME TO renamed;
CREATE SCHEMA elsewhere;
ALTER TABLE renamed SET SCHEMA elsewhere;
SELECT accepted FROM weir.ingest('elsewhere.renamed', '{"id": 5}'::text);
SELECT stream_schema, stream, applied_offset FROM weir.stream_stats;
SELECT count(*) FROM v;
ALTER SCHEMA elsewhere RENAME TO "Else Where";
SELECT accepted FROM weir.ingest('"Else Where".renamed', '{"id": 6}'::text);
SELECT accepted FROM weir.ingest('"Else Where".renamed', 'broken'::text);
SELECT replayed, failed FROM weir.replay_dead_letters('"Else Where".renamed');
SELECT stream_schema, stream, error_stage FROM weir.dead_letters ORDER BY id;
SELECT * FROM weir.audit('"Else Where".renamed');

-- With dependents, dropping refuses as PostgreSQL does; CASCADE takes them.
DROP TABLE "Else Where".renamed;
SELECT weir.drop_stream('"Else Where".renamed');
SELECT weir.drop_stream('"Else Where".renamed', cascade => true);
SELECT to_regclass('v'), to_regclass(:'chunk');
SELECT (SELECT count(*) FROM weir_internal.stream) AS streams, (SELECT count(*) FROM weir_internal.chunk) AS chunks,
    (SELECT count(*) FROM weir_internal.stream_partition) AS partitions, (SELECT count(*) FROM weir_internal.dead_letter) AS dead_letters;
-- DROP TABLE, DROP SCHEMA and DROP OWNED do the same, within a transaction too
SELECT weir.create_stream('s', 'id int');
SELECT weir.create_stream('"Else Where".t', 'id int');
BEGIN;
DROP TABLE s;
SELECT count(*) FROM weir.catalog;
SELECT weir.create_stream('s', 'other text');
ROLLBACK;
SELECT accepted FROM weir.ingest('s', '{"id": 1}'::text, kafka_timestamp => '2026-01-01Z');
DROP TABLE s CASCADE;
DROP SCHEMA "Else Where" CASCADE;
SELECT (SELECT count(*) FROM weir_internal.stream) AS streams, (SELECT count(*) FROM weir_internal.chunk) AS chunks,
    (SELECT count(*) FROM weir_internal.stream_partition) AS partitions,
    (SELECT count(*) FROM pg_class WHERE relnamespace = 'weir_internal'::regnamespace AND relkind = 'r' AND relname ~ '_chunk') AS children;

-- A stream depends on its server, and follows its name.
CREATE SERVER nokafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" 'localhost:1');
SELECT weir.create_stream('k', 'id int', server => 'nokafka', topic => 't');
DROP SERVER nokafka;
ALTER SERVER nokafka RENAME TO stillnokafka;
SELECT stream, server, topic FROM weir.catalog;
ALTER SERVER stillnokafka OPTIONS (SET "bootstrap.servers" 'localhost:2');
DROP SERVER stillnokafka CASCADE;
SELECT count(*) FROM weir.catalog;

-- The owner's children are the owner's.
CREATE ROLE regress_guard_1;
CREATE ROLE regress_guard_2;
GRANT CREATE ON SCHEMA public TO regress_guard_1, regress_guard_2;
SET ROLE regress_guard_1;
SELECT weir.create_stream('owned', 'id int');
RESET ROLE;
SELECT c.relowner::regrole FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'owned'::regclass;
ALTER TABLE owned OWNER TO regress_guard_2;
SELECT c.relowner::regrole FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'owned'::regclass;
REASSIGN OWNED BY regress_guard_2 TO regress_guard_1;
SELECT c.relowner::regrole FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'owned'::regclass;
SELECT accepted FROM weir.ingest('owned', '{"id": 1}'::text, kafka_timestamp => '2026-01-01Z');
SELECT * FROM weir.audit('owned');
DROP OWNED BY regress_guard_1, regress_guard_2;
SELECT count(*) FROM weir.catalog;
DROP ROLE regress_guard_1, regress_guard_2;

--
-- Triggers that streams, and what is derived from them, need
--
SELECT weir.create_stream('s', 'id int, ts timestamptz', event_time => 'ts');
SELECT weir.create_transform('t', 'SELECT id, ts FROM s');
SELECT weir.create_upsert('u', 'SELECT id FROM t', '{id}');
SELECT weir.create_continuous_aggregate('a', 'SELECT count(*) AS n FROM s', weir.tumble('1 minute'));
SELECT weir.create_alert('large', 'SELECT id FROM s WHERE id > 1000');
CREATE TABLE own (id int PRIMARY KEY);
CREATE TABLE log (id int);
SELECT weir.create_upsert('into_own', 'SELECT id FROM s', '{id}', into_table => 'own');
SELECT weir.create_transform('into_log', 'SELECT id FROM s', into_table => 'log');
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(format('%s: %s. %s %s', SQLSTATE, message, detail, hint), '_\d+', '_N', 'g');
END
$$;
CREATE VIEW needed AS SELECT relation::regclass, trigger_name, function, kind FROM weir_internal.required_trigger;
CREATE FUNCTION ingest() RETURNS text LANGUAGE sql AS $$
    SELECT try($_$ SELECT weir.ingest('s', '{"id": 1, "ts": "2026-01-01T00:00:00Z"}'::text) $_$)
$$;
SELECT count(*) AS triggers_of_ours FROM pg_trigger WHERE tgname LIKE 'weir\_%';
-- cannot be dropped by themselves, renamed or replaced,
SELECT try(format('DROP TRIGGER %I ON %s', trigger_name, relation)) FROM needed ORDER BY kind, function, relation::text;
SELECT DISTINCT try(format('ALTER TRIGGER %I ON %s RENAME TO mine', trigger_name, relation)) LIKE '2BP01: %' AS refused FROM needed;
SELECT DISTINCT try(format('CREATE OR REPLACE TRIGGER %I AFTER INSERT ON %s REFERENCING NEW TABLE AS n FOR EACH STATEMENT WHEN (false)
    EXECUTE FUNCTION weir_internal.%I()', trigger_name, relation, function)) LIKE '2BP01: %' AS refused FROM needed;
SELECT ingest();
SELECT (SELECT count(*) FROM t) AS t, (SELECT count(*) FROM u) AS u, (SELECT n FROM a) AS n, (SELECT count(*) FROM own) AS own, (SELECT count(*) FROM log) AS log;
-- and nothing comes in while one is disabled: events are applied everywhere or nowhere.
SELECT DISTINCT try(format('ALTER TABLE %s DISABLE TRIGGER %I', relation, trigger_name)), ingest() LIKE '55000: trigger "weir\_%" of % is disabled.%' AS refused,
    try(format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', relation, trigger_name)) FROM needed WHERE function LIKE '%batch';
SELECT DISTINCT try(format('ALTER TABLE %s ENABLE REPLICA TRIGGER %I', relation, trigger_name)), ingest() LIKE '55000: trigger "weir\_%" of % is disabled.%' AS refused,
    try(format('ALTER TABLE %s ENABLE TRIGGER %I', relation, trigger_name)) FROM needed WHERE function LIKE '%batch';
SELECT ingest();
-- Nor where event triggers have not seen one go, as in a restore that was broken off.
BEGIN;
SET LOCAL check_function_bodies = off;
SELECT try(format('DROP TRIGGER %I ON s', trigger_name)) FROM needed WHERE function = 'aggregate_batch';
SELECT ingest();
ROLLBACK;
BEGIN;
SET LOCAL check_function_bodies = off;
SELECT try(format('DROP TRIGGER %I ON t', trigger_name)) FROM needed WHERE function = 'upsert_batch' AND relation = 't'::regclass;
SELECT ingest();
ROLLBACK;
SELECT ingest();
-- What needs them goes with them.
SELECT weir.drop('u'), weir.drop('own'), weir.drop('log'), weir.drop_alert('large');
DROP VIEW a;
DROP TABLE t;
SELECT DISTINCT kind FROM needed;
DROP TABLE s;
SELECT count(*) FROM needed;

DROP VIEW needed;
DROP FUNCTION try, ingest;
DROP TABLE plain, own, log;

-- Who may do what; and that code of a stream's owner gets no further than he does.
CREATE ROLE regress_owner;
CREATE ROLE regress_writer;
CREATE ROLE regress_reader;
CREATE SCHEMA mine AUTHORIZATION regress_owner;
CREATE SERVER nokafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" 'localhost:1');
GRANT USAGE ON SCHEMA mine TO regress_writer, regress_reader;

-- A stream takes CREATE in its schema and USAGE on its server.
SET ROLE regress_owner;
SELECT weir.create_stream('public.s', 'id int');
SELECT weir.create_stream('mine.k', 'id int', server => 'nokafka', topic => 't');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER nokafka TO regress_owner;
SET ROLE regress_owner;
SELECT weir.create_stream('mine.k', 'id int', server => 'nokafka', topic => 't');
SELECT weir.create_stream('mine.s', 'id int, note text, ts timestamptz DEFAULT ''2026-01-01Z''', event_time => 'ts');
SELECT accepted FROM weir.ingest('mine.s', ARRAY['{"id": 1}', 'secret in a dead letter']);

-- Others need INSERT to ingest, SELECT to read; and own nothing by that.
SET ROLE regress_writer;
SELECT accepted FROM weir.ingest('mine.s', '{"id": 2}'::text);
SELECT count(*) FROM mine.s;
RESET ROLE;
GRANT INSERT ON mine.s TO regress_writer;
GRANT SELECT ON mine.s TO regress_reader;
SET ROLE regress_writer;
SELECT * FROM weir.ingest('mine.s', ARRAY['{"id": 2}', 'another secret']);
SELECT count(*) FROM mine.s;
INSERT INTO mine.s (id) VALUES (1);
SELECT weir.alter_stream('mine.s', retention => '1 day');
SELECT weir.start('mine.k');
SELECT weir.stop('mine.k');
SELECT weir.drop_stream('mine.s');
SELECT * FROM weir.replay_dead_letters('mine.s');
CREATE TRIGGER mine AFTER INSERT ON mine.s FOR EACH STATEMENT EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE INDEX ON mine.s (id);
-- what one sees is what one owns
SELECT count(*) FROM weir.catalog;
SELECT count(*) FROM weir.status;
SELECT count(*) FROM weir.stream_stats;
SELECT count(*) FROM weir.dead_letters;
SELECT count(*) FROM weir.audit('mine.s');
SET ROLE regress_reader;
SELECT id FROM mine.s ORDER BY id;
SELECT count(*) FROM weir.dead_letters;
SET ROLE regress_owner;
SELECT stream, owner FROM weir.catalog ORDER BY stream;
SELECT convert_from(value, 'UTF8') FROM weir.dead_letters ORDER BY id;
SELECT * FROM weir.audit('mine.s');
-- a member of the owner's role has his rights
RESET ROLE;
GRANT regress_owner TO regress_reader;
SET ROLE regress_reader;
SELECT count(*) FROM weir.dead_letters;
SELECT weir.alter_stream('mine.s', retention => '1 day');
RESET ROLE;
REVOKE regress_owner FROM regress_reader;

-- What is internal stays so.
SET ROLE regress_owner;
SELECT count(*) FROM weir_internal.stream;
SELECT * FROM weir_internal.dead_letter;
UPDATE weir_internal.stream_partition SET applied_offset = 0;
SELECT weir_internal.ring();
SELECT weir_internal.touch_stream('mine.s'::regclass);
SELECT weir_internal.follow_ddl('mine.s'::regclass);
SELECT * FROM weir_internal.worker_slots();
SELECT inhrelid::regclass AS chunk FROM pg_inherits WHERE inhparent = 'mine.s'::regclass \gset
SELECT count(*) FROM :chunk;
DROP TABLE :chunk;
CREATE TABLE weir_internal.x ();
CREATE TABLE weir.x ();

-- A function of the stream runs as its owner, in a restricted operation, whoever ingests.
CREATE TABLE mine.log (n int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION mine.note(what text) RETURNS text LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    INSERT INTO mine.log (what) VALUES (what);
    RETURN what;
END
$$;
CREATE FUNCTION mine.who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM mine.note(format('%s %s: current_user %s, session_replication_role %s, search_path %s', TG_WHEN, TG_OP,
        current_user, current_setting('session_replication_role'), current_setting('search_path')));
    RETURN NULL;
END
$$;
CREATE TRIGGER before BEFORE INSERT ON mine.s FOR EACH STATEMENT EXECUTE FUNCTION mine.who();
CREATE TRIGGER who AFTER INSERT ON mine.s FOR EACH STATEMENT EXECUTE FUNCTION mine.who();
SET ROLE regress_writer;
SET search_path = pg_temp;
SELECT accepted FROM weir.ingest('mine.s', '{"id": 3}'::text);
RESET search_path;
RESET ROLE;
SET session_replication_role = replica;
SELECT accepted FROM weir.ingest('mine.s', '{"id": 4}'::text);
RESET session_replication_role;
SELECT what FROM mine.log ORDER BY n;

-- Each of these tries to get out: as the superuser, from a trigger.
CREATE TABLE public.superusers_own (a int);
CREATE FUNCTION mine.escape() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE current_setting('test.command');
    PERFORM mine.note('as ' || current_user || ' did ' || current_setting('test.command'));
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '% %', SQLSTATE, SQLERRM;
    RETURN NULL;
END
$$;
GRANT EXECUTE ON FUNCTION mine.escape() TO regress_owner;
CREATE TRIGGER escape AFTER INSERT ON mine.s FOR EACH STATEMENT EXECUTE FUNCTION mine.escape();
CREATE FUNCTION try_escape(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('test.command', command, false);
    PERFORM weir.ingest('mine.s', '{"id": 5}'::text);
    RETURN command || ' -> ' || current_user || ', ' || current_setting('search_path') || ', '
        || current_setting('session_replication_role') || ', ' || current_setting('work_mem');
END
$$;
SELECT try_escape(command) FROM unnest(ARRAY[
    'SET ROLE postgres',
    'RESET ROLE',
    'SET SESSION AUTHORIZATION DEFAULT',
    'RESET SESSION AUTHORIZATION',
    'SELECT set_config(''role'', ''none'', false)',
    'INSERT INTO public.superusers_own VALUES (1)',
    'ALTER ROLE regress_owner SUPERUSER',
    'COPY mine.log TO ''/tmp/regress_escape''',
    'SELECT pg_read_file(''PG_VERSION'')',
    'SELECT * FROM weir_internal.stream',
    'UPDATE weir_internal.stream_partition SET consumed = 0',
    'CREATE TEMP TABLE t (a int)',
    'LISTEN x',
    'PREPARE p AS SELECT 1',
    'DECLARE c CURSOR WITH HOLD FOR SELECT 1',
    'CREATE INDEX ON mine.log (n)',
    'SET search_path = evil',
    'SELECT set_config(''search_path'', ''evil'', false)',
    'SET SESSION search_path = evil',
    'SET work_mem = ''123MB''',
    'SET session_replication_role = replica',
    'SELECT set_config(''session_replication_role'', ''replica'', false)',
    'SET CONSTRAINTS ALL DEFERRED']) command;
SELECT what FROM mine.log WHERE what LIKE 'as %' ORDER BY n;
SELECT count(*) FROM superusers_own;
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_owner';
DROP TRIGGER escape ON mine.s;
DROP TRIGGER who ON mine.s;
DROP TRIGGER before ON mine.s;

-- A deferred trigger fires within the batch, as the owner: not at commit, as whoever is there then.
SET ROLE regress_owner;
TRUNCATE mine.log;
CREATE TABLE mine.derived (id int);
CREATE FUNCTION mine.deferred() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM mine.note('deferred as ' || current_user);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON mine.derived DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION mine.deferred();
CREATE FUNCTION mine.derive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mine.derived SELECT id FROM n;
    PERFORM mine.note('derived as ' || current_user);
    RETURN NULL;
END
$$;
CREATE TRIGGER derive AFTER INSERT ON mine.s REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION mine.derive();
RESET ROLE;
BEGIN;
SELECT accepted FROM weir.ingest('mine.s', '{"id": 6}'::text);
SELECT what FROM mine.log ORDER BY n;
COMMIT;
SELECT what FROM mine.log ORDER BY n;
-- even one that defers them anew
CREATE OR REPLACE FUNCTION mine.derive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SET CONSTRAINTS ALL DEFERRED;
    INSERT INTO mine.derived SELECT id FROM n;
    RETURN NULL;
END
$$;
TRUNCATE mine.log;
SELECT accepted FROM weir.ingest('mine.s', '{"id": 7}'::text);
SELECT what FROM mine.log WHERE what <> 'deferred as regress_owner';
DROP TRIGGER derive ON mine.s;

-- DEFAULTs, CHECKs, domains and generated columns run as the owner too.
SET ROLE regress_owner;
TRUNCATE mine.log;
CREATE FUNCTION mine.note_check(id int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM mine.note('check as ' || current_user);
    RETURN true;
END
$$;
CREATE FUNCTION mine.note_generated(id int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN current_user; END $$;
CREATE FUNCTION mine.note_default() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN mine.note('default as ' || current_user);
END
$$;
CREATE DOMAIN mine.positive AS int CHECK (mine.note_check(VALUE));
SELECT weir.create_stream('mine.functions', $$id int CHECK (mine.note_check(id)), note text DEFAULT mine.note_default(),
    gen text GENERATED ALWAYS AS (mine.note_generated(id)) STORED, p mine.positive, ts timestamptz DEFAULT '2026-01-01Z'$$, event_time => 'ts');
RESET ROLE;
SELECT accepted FROM weir.ingest('mine.functions', '{"id": 1, "p": 2}'::text);
SELECT id, note, gen FROM mine.functions;
SELECT DISTINCT what FROM mine.log ORDER BY what;
-- so do functions of indexes, on the children there are, and as events come
SET ROLE regress_owner;
CREATE FUNCTION mine.indexed(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'index on % as %', id, current_user;
    RETURN id;
END
$$;
RESET ROLE;
CREATE INDEX ON mine.functions (mine.indexed(id));
SELECT accepted FROM weir.ingest('mine.functions', '{"id": 2, "p": 2}'::text);
-- and those of domains whose literals stand in the query of a derived object as whoever makes it
SET ROLE regress_owner;
TRUNCATE mine.log;
SELECT weir.create_upsert('mine.latest', $$SELECT id, '{1}'::mine.positive[] AS p FROM mine.functions$$, key => '{id}',
    delete_when => $$p = '{2}'$$);
SELECT weir.create_transform('mine.transformed', $$SELECT id, '{1}'::mine.positive[] AS p FROM mine.functions$$);
SELECT weir.create_continuous_aggregate('mine.counted',
    $$SELECT '{1}'::mine.positive[] AS p, count(*) AS c FROM mine.functions GROUP BY id$$, weir.tumble('1 minute'));
RESET ROLE;
SELECT DISTINCT what FROM mine.log ORDER BY what;
-- and those of a filter or transform as whoever replays
SELECT accepted FROM weir.ingest('mine.s', 'broken'::text);
SET ROLE regress_owner;
SELECT replayed FROM weir.replay_dead_letters('mine.s', filter => 'mine.note(''filter as '' || current_user) IS NOT NULL');
SELECT DISTINCT what FROM mine.log WHERE what LIKE 'filter%';
RESET ROLE;

-- Row-level security cannot be had on the way in.
ALTER TABLE mine.s ENABLE ROW LEVEL SECURITY;
SET ROLE regress_writer;
SELECT accepted FROM weir.ingest('mine.s', '{"id": 8}'::text);
SET ROLE regress_owner;
SELECT accepted FROM weir.ingest('mine.s', '{"id": 8}'::text);
RESET ROLE;
ALTER TABLE mine.s DISABLE ROW LEVEL SECURITY;

SELECT s.stream, a.* FROM unnest('{mine.s,mine.functions,mine.k}'::text[]) s (stream), LATERAL weir.audit(s.stream::regclass) a;
DROP FUNCTION try_escape;
DROP TABLE superusers_own;
\set VERBOSITY terse
DROP SERVER nokafka CASCADE;
DROP SCHEMA mine CASCADE;
DROP ROLE regress_owner, regress_writer, regress_reader;

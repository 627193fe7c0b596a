-- What careless and hostile users may try.
CREATE ROLE regress_mallory;
CREATE ROLE regress_eve;
CREATE SCHEMA hostile AUTHORIZATION regress_mallory;
GRANT USAGE, CREATE ON SCHEMA hostile TO regress_eve;
SET search_path = hostile;

-- The planner calls IMMUTABLE functions: as the stream's owner, whoever makes it plan.
SET ROLE regress_mallory;
CREATE FUNCTION who(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE NOTICE 'called as %', current_user;
    RETURN x;
END
$$;
SELECT weir.create_stream('folded', 'a int DEFAULT who(7), CHECK (a <> who(8))');
RESET ROLE;
\c
SET search_path = hostile;
SELECT accepted FROM weir.ingest('folded', '{}'::text);
SELECT a FROM folded;

-- Conditions of a reader's are not tried on rows that he may not see.
SELECT dead_lettered FROM weir.ingest('folded', 'the payload is secret'::text);
SET ROLE regress_eve;
CREATE FUNCTION leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN
    RAISE NOTICE 'leaked: %', $1;
    RETURN true;
END
$$;
SET enable_hashjoin = off;
SET enable_nestloop = off;
SELECT count(*) FROM weir.dead_letters WHERE leak(value);
SELECT count(*) FROM weir.catalog WHERE leak(retention);
SELECT count(*) FROM weir.stream_stats WHERE leak(applied_offset);
SELECT count(*) FROM weir.status WHERE leak(stream);
RESET ROLE;
RESET enable_hashjoin;
RESET enable_nestloop;

-- A trigger that ingests elsewhere leaves the headers of its own batch alone.
SELECT weir.create_stream('outer_one', 'a int', metadata => '{headers}');
SELECT weir.create_stream('inner_one', 'a int', metadata => '{headers}');
CREATE FUNCTION pass_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM weir.ingest('inner_one', '{"a": 0}'::text, headers => '{"inner": "x"}');
    IF EXISTS (SELECT FROM n WHERE a = 2) THEN
        RAISE EXCEPTION 'two';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER pass_on AFTER INSERT ON outer_one REFERENCING NEW TABLE AS n
    FOR EACH STATEMENT EXECUTE FUNCTION pass_on();
SELECT accepted, dead_lettered FROM weir.ingest('outer_one', ARRAY['{"a": 1}', '{"a": 2}', '{"a": 3}'],
    headers => '{"outer": ["x", null]}');
SELECT a, _headers FROM outer_one ORDER BY a;
SELECT message, headers FROM weir.dead_letters WHERE stream = 'outer_one';
SELECT DISTINCT _headers FROM inner_one;

-- Very many headers take no time to speak of.
SET statement_timeout = '20s';
SELECT accepted FROM weir.ingest('inner_one', '{"a": 1}'::text,
    headers => (SELECT jsonb_object_agg('name' || n, 'v') FROM generate_series(1, 200000) n));
RESET statement_timeout;
SELECT count(*) FROM inner_one, jsonb_object_keys(_headers) WHERE a = 1;

-- Names of many bytes, alike at their beginnings, and those that look like ours.
SELECT weir.create_stream('long_names', $$
    "ääääääääääääääääääääääääääääääb" int NOT NULL, "ääääääääääääääääääääääääääääääc" int NOT NULL, _mine int NOT NULL$$,
    key_format => 'text', key_columns => '{ääääääääääääääääääääääääääääääb}', tombstones => 'row');
SELECT conname FROM pg_constraint WHERE conrelid = 'long_names'::regclass ORDER BY conname COLLATE "C";
SELECT accepted FROM weir.ingest('long_names', NULL::text, key => '5');

-- Columns of ours, and the event time, that ALTER TABLE has made something else.
SELECT weir.create_stream('changed', 'a int, ts timestamptz', event_time => 'ts', metadata => '{key}');
CREATE FUNCTION try(change text, undo text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'ALTER TABLE hostile.changed ' || change;
    BEGIN
        RETURN accepted FROM weir.ingest('hostile.changed', '{"a": 1, "ts": "2026-01-01Z", "x": 1}'::text, key => 'k');
    EXCEPTION WHEN OTHERS THEN
        EXECUTE 'ALTER TABLE hostile.changed ' || undo;
        RETURN sqlstate || ' ' || sqlerrm;
    END;
END
$$;
SELECT try('ALTER _timestamp TYPE text', 'ALTER _timestamp TYPE timestamptz USING now()');
SELECT try('ALTER _extra TYPE text', 'ALTER _extra TYPE jsonb USING NULL');
SELECT try('ALTER _partition TYPE numeric', 'ALTER _partition TYPE int');
SELECT try('ALTER _key TYPE int USING 1', 'ALTER _key TYPE bytea USING NULL');
SELECT try('ALTER ts TYPE text', 'ALTER ts TYPE timestamptz USING now()');
SELECT try('ALTER a TYPE text', '');
SELECT weir.create_stream('taken', '_tombstone text');

-- What a large batch took is given back.
SELECT accepted FROM weir.ingest('inner_one', ARRAY(SELECT format('{"b": "%s"}', repeat('x', 1000000)) FROM generate_series(1, 20)));
SELECT sum(total_bytes) < 2000000 AS little FROM pg_backend_memory_contexts WHERE name LIKE 'pg_weir%';

-- A transaction that has become read-only when it commits.
SELECT weir.create_stream('short', 'a int', retention => '0.8 s');
SELECT pg_sleep(0.3);
BEGIN;
SELECT accepted FROM weir.ingest('short', '{"a": 1}'::text);
SET TRANSACTION READ ONLY;
COMMIT;
SELECT a FROM short;

-- Durations beyond what time can tell.
SELECT weir.create_stream('for_ever', 'a int', max_out_of_orderness => '2147483647 days');

-- A transform that makes two events of one dead letter makes none.
SELECT weir.create_stream('doubled', 'a int');
SELECT dead_lettered FROM weir.ingest('doubled', 'x'::text);
DO $$
BEGIN
    PERFORM weir.replay_dead_letters('hostile.doubled', transform => $t$unnest('{"{\"a\":1}","{\"a\":2}"}'::text[])$t$);
EXCEPTION WHEN serialization_failure THEN
    RAISE NOTICE 'refused';
END
$$;
SELECT count(*) FROM doubled;

RESET search_path;
DROP SCHEMA hostile CASCADE;
DROP ROLE regress_mallory;
DROP ROLE regress_eve;

-- Rights: everybody calls, nobody touches what is internal.
\set QUIET on
\pset format unaligned
\pset tuples_only on
BEGIN;
SELECT no_plan();
CREATE ROLE weir_test_nobody;

SELECT ok(has_schema_privilege('weir_test_nobody', 'weir', 'USAGE'), 'USAGE on schema weir');
SELECT ok(NOT has_schema_privilege('weir_test_nobody', 'weir', 'CREATE'), 'no CREATE in schema weir');
-- What is derived from streams is run as their owners, who must find what is behind it; each relation says who may touch it.
SELECT ok(has_schema_privilege('weir_test_nobody', 'weir_internal', 'USAGE'), 'USAGE on schema weir_internal');
SELECT ok(NOT has_schema_privilege('weir_test_nobody', 'weir_internal', 'CREATE'), 'no CREATE on schema weir_internal');

SELECT ok(has_function_privilege('weir_test_nobody', p.oid, 'EXECUTE'), 'EXECUTE on ' || p.oid::regprocedure)
FROM pg_proc p WHERE p.pronamespace = 'weir'::regnamespace;
SELECT ok(has_table_privilege('weir_test_nobody', c.oid, 'SELECT'), 'SELECT on ' || c.oid::regclass)
FROM pg_class c WHERE c.relnamespace = 'weir'::regnamespace AND c.relkind = 'v';
SELECT ok(NOT has_table_privilege('weir_test_nobody', c.oid, p), format('no %s on %s', p, c.oid::regclass))
FROM pg_class c, unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) p
WHERE c.relnamespace = 'weir'::regnamespace AND c.relkind = 'v';

-- The views reach these with their reader's rights.
SELECT is(
    (SELECT array_agg(p.proname::text ORDER BY p.proname) FROM pg_proc p WHERE p.pronamespace = 'weir_internal'::regnamespace
     AND has_function_privilege('weir_test_nobody', p.oid, 'EXECUTE')),
    '{bin,bin_first,check_relation,distinct_add,distinct_deserialize,distinct_final,distinct_serialize,distinct_values,errors_of,ids_sums,is_at_fault,literal,need,need_operator,obstacle,refill_sums,runs_here,sees_alert,session_start,visible_sample,windows_of,worker_shortage,worker_slots}',
    'internal functions that views and derived queries call are for all');
SELECT ok(NOT has_table_privilege('weir_test_nobody', c.oid, p), format('no %s on %s', p, c.oid::regclass))
FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
WHERE c.relnamespace = 'weir_internal'::regnamespace AND c.relkind = 'r';
SELECT is_empty($$ SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'weir_internal'::regnamespace
    AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('weir_test_nobody', c.oid, 'USAGE, SELECT, UPDATE') END $$, 'no right on internal sequences');
SELECT ok(NOT has_foreign_data_wrapper_privilege('weir_test_nobody', 'weir_kafka', 'USAGE'), 'servers are the administrator''s to make');

-- Functions that run as somebody else look nowhere but where they mean to.
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace IN ('weir'::regnamespace, 'weir_internal'::regnamespace) AND p.prosecdef
    AND NOT coalesce(array_to_string(p.proconfig, ' ') ~ 'search_path=', false) $$, 'SECURITY DEFINER comes with a search_path');

-- A stream whose server is no longer the owner's to use does not start.
CREATE SERVER weir_test_nokafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" 'localhost:1');
CREATE SCHEMA weir_test AUTHORIZATION weir_test_nobody;
GRANT USAGE ON FOREIGN SERVER weir_test_nokafka TO weir_test_nobody;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO weir_test_nobody;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO weir_test_nobody;
SET ROLE weir_test_nobody;
SELECT lives_ok($$ SELECT weir.create_stream('weir_test.k', 'id int', server => 'weir_test_nokafka', topic => 't') $$, 'with USAGE a stream is made');
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER weir_test_nokafka FROM weir_test_nobody;
SET ROLE weir_test_nobody;
SELECT throws_ok($$ SELECT weir.start('weir_test.k') $$, '42501', 'permission denied for foreign server "weir_test_nokafka"', 'without USAGE it does not start');
SELECT throws_ok($$ SELECT * FROM weir.test_server('weir_test_nokafka') $$, '42501', 'permission denied for foreign server "weir_test_nokafka"', 'nor is the server tested');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;

-- What pg_dump takes along: each table's decision.
\set QUIET on
\pset format unaligned
\pset tuples_only on
BEGIN;
SELECT no_plan();

CREATE TEMP VIEW dumped AS
SELECT c.relname::text AS name, e.extcondition[o.n] AS condition
FROM pg_extension e, unnest(e.extconfig) WITH ORDINALITY o (oid, n) JOIN pg_class c ON c.oid = o.oid
WHERE e.extname = 'pg_weir';
SELECT ok(EXISTS (SELECT FROM dumped d WHERE d.name = t), t || ' is dumped')
FROM unnest('{stream,stream_partition,chunk,chunk_checkpoint,verdict,staging_marker,refill,gap,dead_letter,dead_letter_id_seq,dedup_block,task,task_run,task_run_id}'::text[]) t;
SELECT is_empty($$ SELECT name, condition FROM dumped WHERE condition <> '' $$, 'and whole');
-- A table that is added later needs a decision: dumped, or named here with the reason.
SELECT is_empty($$
    SELECT c.relname FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_weir'
    WHERE c.relkind IN ('r', 'S') AND c.relname NOT IN (SELECT name FROM dumped) $$, 'all tables and sequences are decided on');
-- Children of streams are the user's, not the extension's.
SELECT lives_ok($$ SELECT weir.create_stream('weir_test_dumped', 'id int') $$, 'a stream');
SELECT is_empty($$ SELECT inhrelid::regclass FROM pg_inherits i JOIN pg_depend d ON d.objid = i.inhrelid AND d.deptype = 'e'
    WHERE i.inhparent = 'weir_test_dumped'::regclass $$, 'its children are not members of the extension');
SELECT is((SELECT count(*) FROM pg_inherits WHERE inhparent = 'weir_test_dumped'::regclass), 1::bigint, 'and there is one');

SELECT * FROM finish();
ROLLBACK;

-- The kinds of checks, as plain functions: what passes, and what fails by how much.
\set VERBOSITY terse
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA ckk;
SET search_path = ckk;
CREATE TABLE t (id int, ref int, amount numeric, name text, at timestamptz, f float8);
INSERT INTO t VALUES
    (1, 1, 10, 'ann', now(), 1), (2, 2, 20, 'bob', now() - interval '1 hour', 2), (3, 3, 30, 'cid', now() - interval '2 hours', 3),
    (3, NULL, NULL, ' ', now() - interval '3 hours', 4), (7, 9, 500, NULL, NULL, 'NaN');
CREATE TABLE refs (id int);
INSERT INTO refs VALUES (1), (2), (3);
CREATE FUNCTION says(r weir.check_results) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', r.status, r.failed_rows || '/' || r.total_rows, r.observed, r.expected, r.message, r.sqlstate)
$$;

-- rows
SELECT says(weir.check_not_null('t', 'id')), says(weir.check_not_null('t', 'name'));
SELECT says(weir.check_completeness('t', 'name')), says(weir.check_completeness('t', 'name', mostly => 0.6));
SELECT says(weir.check_unique('t', 'id')), says(weir.check_unique('t', 'ref')), says(weir.check_unique('t', 'id', 'ref'));
SELECT sample FROM weir.check_unique('t', 'id');
SELECT says(weir.check_accepted_values('t', 'name', 'ann', 'bob')), says(weir.check_accepted_values('t', 'id', '1', '2', '3', '7'));
SELECT says(weir.check_accepted_range('t', 'amount', '10', '30')), says(weir.check_accepted_range('t', 'amount', '10', '30', false)),
    says(weir.check_accepted_range('t', 'amount', min => '11'));
SELECT says(weir.check_accepted_range('t', 'at', max => '2020-01-01')), says(weir.check_accepted_range('t', 'name', 'b', 'c'));
-- NaN is above all
SELECT says(weir.check_accepted_range('t', 'f', '0', '10'));
SELECT says(weir.check_regex('t', 'name', '^[a-z]+$')), says(weir.check_regex('t', 'id', '^\d$'));
SELECT says(weir.check_relationships('t', 'ref', 'refs', 'id')), says(weir.check_relationships('t', 'ref', 'refs', 'id', 'ref < 9'));
SELECT says(weir.check_sequence_gaps('t', 'id')), says(weir.check_sequence_gaps('refs', 'id'));
SELECT sample FROM weir.check_sequence_gaps('t', 'id');
-- NULLs are no duplicates, no gaps, no values of a list
CREATE TABLE nulls (id int, name text);
INSERT INTO nulls VALUES (1, 'a'), (2, 'b'), (NULL, NULL), (NULL, NULL), (5, 'c');
SELECT says(weir.check_unique('nulls', 'id')), says(weir.check_unique('nulls', 'id', 'name')), says(weir.check_sequence_gaps('nulls', 'id'));
SELECT says(t) FROM weir.try_check('nulls', 'accepted_values', '{"column": "name", "values": ["a", "b", null]}') t;
-- values
SELECT says(weir.check_row_count('t', 1, 5)), says(weir.check_row_count('t', 6)), says(weir.check_row_count('t', max => 4));
SELECT says(weir.check_row_count('t', same_as => 'refs')), says(weir.check_row_count('t', same_as => 'refs', filter => 'ref < 9'));
SELECT says(weir.check_cardinality('t', 'id', 4, 4)), says(weir.check_cardinality('t', 'id', max => 3));
SELECT says(weir.check_aggregate('t', 'avg', 'amount', '100', '150')), says(weir.check_aggregate('t', 'sum', 'amount', max => '559')),
    says(weir.check_aggregate('t', 'median', 'amount', '25', '25')), says(weir.check_aggregate('t', 'p75', 'amount', '147.5', '147.5'));
SELECT says(weir.check_aggregate('t', 'min', 'name', 'ann')), says(weir.check_aggregate('t', 'max', 'at', max => '2020-01-01')) ~ 'fail' AS late,
    says(weir.check_aggregate('t', 'stddev', 'id', filter => 'false', max => '1'));
SELECT says(weir.check_freshness('t', 'at', '10 minutes')) ~ '^pass', says(weir.check_freshness('t', 'at', '10 minutes', '90 minutes', filter => 'id = 2')) ~ '^warn',
    says(weir.check_freshness('t', 'at', '10 minutes', '90 minutes', filter => 'ref = 3')) ~ '^fail', says(weir.check_freshness('t', 'at', '1 hour', filter => 'id = 7'));
-- columns
SELECT says(weir.check_schema('t', '{id,name}', '{password}', '{"id": "int", "amount": "numeric", "at": "timestamptz"}', true));
SELECT says(weir.check_schema('t', '{name,id,age}', '{f}', '{"id": "bigint", "age": "int", "sex": "text"}', true));
SELECT says(weir.check_schema('t', '{name,id}')), says(weir.check_schema('t', '{name,id}', ordered => true));
SELECT says(weir.check_schema_changes('refs', '{"id": "int"}')), says(weir.check_schema_changes('refs', '{"id": "text", "gone": "int"}'));
SELECT weir.create_check('shape', 'refs', 'schema_changes');
SELECT params FROM weir.checks;
SELECT status FROM weir.run_checks('shape');
ALTER TABLE refs ADD note varchar(10), ALTER id TYPE bigint;
SELECT status, observed, failed_rows, sample FROM weir.run_checks('shape');
SELECT weir.drop_check('shape');
-- queries
SELECT says(weir.check_custom_sql('t', 'SELECT * FROM ckk.t WHERE amount > 100')), says(weir.check_custom_sql('t', 'SELECT 1 WHERE false;'));
SELECT sample FROM weir.check_custom_sql('t', 'SELECT id, amount FROM t WHERE amount > 100');
-- an empty table
CREATE TABLE empty (LIKE t);
SELECT says(weir.check_not_null('empty', 'id')), says(weir.check_unique('empty', 'id')), says(weir.check_sequence_gaps('empty', 'id')),
    says(weir.check_row_count('empty', 1)), says(weir.check_freshness('empty', 'at', '1 hour'));

-- Two tables: every row that has no equal on the other side.
CREATE TABLE copied AS SELECT id, ref, amount FROM t;
SELECT says(weir.check_reconcile('t', 'copied', '{id,ref,amount}'));
UPDATE copied SET amount = 11 WHERE id = 1;
INSERT INTO copied VALUES (3, 3, 30);
SELECT says(weir.check_reconcile('t', 'copied', '{id,ref,amount}')), says(weir.check_reconcile('t', 'copied', '{id,ref,amount}', filter => 'id = 2'));
SELECT jsonb_array_elements(sample) FROM weir.check_reconcile('t', 'copied', '{id,ref,amount}') ORDER BY 1;
SELECT says(weir.check_reconcile('t', 'copied', '{id,name}'));
-- as often as on the other side
CREATE TABLE twice AS SELECT * FROM refs, (VALUES (1), (2)) v (i);
SELECT says(weir.check_reconcile('twice', 'refs', '{id}')), says(weir.check_reconcile('refs', 'twice', '{id}'));

-- A table and the stream that fills it: a row for each event, by partition where the table says it.
SELECT weir.create_stream('s', 'id int', partitions => 2);
CREATE TABLE loaded (id int, _partition int);
CREATE FUNCTION load() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ckk.loaded SELECT id, _partition FROM n; RETURN NULL; END $$;
CREATE TRIGGER load AFTER INSERT ON s REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION load();
SELECT accepted, dead_lettered FROM weir.ingest('s', ARRAY['{"id": 1}', '{"id": 2}', 'broken']);
SELECT accepted FROM weir.ingest('s', ARRAY['{"id": 3}'], partition => 1);
SELECT says(weir.check_reconcile('loaded', stream => 's')), says(weir.check_reconcile('s', audit => true));
-- a dead letter that is replayed is an event, too
SELECT replayed, applied FROM weir.replay_dead_letters('s', transform => $$'{"id": 5}'$$);
SELECT says(weir.check_reconcile('loaded', stream => 's')), says(weir.check_reconcile('s', audit => true));
DELETE FROM loaded WHERE id = 2;
INSERT INTO loaded VALUES (4, 1);
SELECT says(weir.check_reconcile('loaded', stream => 's'));
SELECT sample FROM weir.check_reconcile('loaded', stream => 's');
ALTER TABLE loaded DROP _partition;
SELECT says(weir.check_reconcile('loaded', stream => 's'));
INSERT INTO weir_internal.gap (stream, partition, from_offset, to_offset, cause) VALUES ('s', 1, 10, 12, 'seek');
SELECT says(weir.check_reconcile('s', audit => true));
UPDATE weir_internal.stream_partition SET consumed = consumed + 1 WHERE stream = 's'::regclass AND partition = 0;
SELECT says(weir.check_reconcile('s', audit => true));

DROP SCHEMA ckk CASCADE;
TRUNCATE weir_internal.alert;

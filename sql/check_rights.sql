-- Checks run with their owner's rights; what they found is for those who may read it.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA ckr;
SET search_path = ckr;
CREATE ROLE ck_owner;
CREATE ROLE ck_reader;
CREATE ROLE ck_part;
CREATE ROLE ck_other;
GRANT USAGE ON SCHEMA ckr TO ck_owner, ck_reader, ck_part, ck_other;
CREATE TABLE people (id int, name text, secret text);
INSERT INTO people VALUES (1, 'a', 'x'), (2, NULL, 'y');
CREATE TABLE treasure (gold int);
CREATE VIEW seen AS SELECT check_name, status, failed_rows, observed, sample, group_key, message FROM weir.check_results;
GRANT SELECT ON seen TO PUBLIC;
ALTER VIEW seen SET (security_invoker = true);

-- Creating one takes SELECT on the table.
SET ROLE ck_owner;
SELECT weir.create_check('names', 'people', 'not_null', '{"column": "name"}');
RESET ROLE;
GRANT SELECT (id, name) ON people TO ck_owner;
SET ROLE ck_owner;
SELECT weir.create_check('names', 'people', 'not_null', '{"column": "name"}');
SELECT weir.create_check('secrets', 'people', 'not_null', '{"column": "secret"}');
SELECT weir.create_check('same', 'people', 'row_count', '{"same_as": "treasure"}');
SELECT weir.create_check('sneaks', 'people', 'not_null', '{"column": "id"}', filter => 'EXISTS (SELECT FROM treasure)');
-- what it may not read is an error, and not in the sample; whoever runs it
SELECT check_name, status, sample, message FROM weir.run_checks();
RESET ROLE;
SELECT check_name, status, sample, message FROM weir.run_checks();
SELECT count(*) FROM weir_internal.check_result WHERE sample::text ~ 'secret';

-- Others run nothing of it, drop nothing, see nothing.
SET ROLE ck_other;
SELECT count(*) FROM weir.run_checks();
SELECT * FROM weir.run_checks('names');
SELECT weir.drop_check('names');
SELECT count(*) FROM weir.check_results;
SELECT count(*) FROM weir.checks;
SELECT count(*) FROM weir.quality;
SELECT weir.purge_check_results('-1 day');
SELECT weir_internal.query_as('ck_owner'::regrole, '', 'SELECT to_jsonb(1)', NULL);
SELECT * FROM weir_internal.check_result;
RESET ROLE;
SELECT weir.purge_check_results('-1 day') > 0 AS purged;
SELECT count(*) FROM weir.run_checks('names');

-- Readers of the whole table see the sample; of some columns, neither that nor values; under row-level security neither.
GRANT SELECT ON people TO ck_reader;
GRANT SELECT (id) ON people TO ck_part;
SET ROLE ck_reader;
SELECT * FROM seen;
SET ROLE ck_part;
SELECT * FROM seen;
SELECT target, failed, score FROM weir.quality;
RESET ROLE;
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON people USING (id = 1);
SET ROLE ck_reader;
SELECT * FROM seen;
-- and the check of somebody whom a policy binds sees what he sees
SET ROLE ck_owner;
SELECT status, total_rows FROM weir.check_not_null('people', 'name');
RESET ROLE;
ALTER TABLE people DISABLE ROW LEVEL SECURITY;
-- rights that are taken away take the sample along
SET ROLE ck_owner;
SELECT * FROM seen;
RESET ROLE;
REVOKE SELECT (name) ON people FROM ck_owner;
SET ROLE ck_owner;
SELECT * FROM seen;
RESET ROLE;
REVOKE SELECT (id) ON people FROM ck_owner;
REVOKE SELECT ON people FROM ck_reader;
SET ROLE ck_owner;
SELECT * FROM seen;
SET ROLE ck_reader;
SELECT * FROM seen;
RESET ROLE;
GRANT SELECT ON people TO ck_owner;

-- Functions run as the check's owner, in a restricted operation, also where a superuser runs the check.
CREATE FUNCTION who() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'I am %, and % may read', current_user, CASE WHEN has_table_privilege('treasure', 'SELECT') THEN 'treasure I' ELSE 'no treasure' END;
END $$;
CREATE FUNCTION climb() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'RESET ROLE'; RETURN true; END $$;
CREATE FUNCTION write() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE TEMP TABLE mine ()'; RETURN true; END $$;
SET ROLE ck_owner;
SELECT weir.create_check('who', 'people', 'row_count', '{"min": 1}', filter => 'ckr.who()');
SELECT weir.create_check('climb', 'people', 'row_count', '{"min": 1}', filter => 'ckr.climb()');
SELECT weir.create_check('write', 'people', 'row_count', '{"min": 1}', filter => 'ckr.write()');
RESET ROLE;
SELECT check_name, status, message FROM weir.run_checks();
SELECT status, message FROM weir.check_row_count('people', min => 1, filter => 'ckr.who()');
-- parsing runs nothing as somebody else, either
CREATE FUNCTION valid(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'checked by %', current_user; END $$;
CREATE DOMAIN picky AS int CHECK (valid(VALUE));
CREATE TYPE pair AS (a picky, b int);
SET ROLE ck_owner;
SELECT weir.create_check('picky', 'people', 'row_count', '{"min": 1}', filter => '(''(1,2)''::ckr.pair) IS NULL');
RESET ROLE;

-- An owner that is gone.
DELETE FROM weir_internal.check_definition WHERE name <> 'names';
UPDATE weir_internal.check_definition SET owner = 1::regrole;
SELECT status, sqlstate FROM weir.run_checks('names');

DROP SCHEMA ckr CASCADE;
DROP ROLE ck_owner, ck_reader, ck_part, ck_other;
TRUNCATE weir_internal.alert;

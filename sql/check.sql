-- Checks: created, refused, run; what comes of them, and who sees it.
\set VERBOSITY terse
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA ck;
SET search_path = ck;
CREATE TABLE orders (id int, customer int, amount numeric, status text);
INSERT INTO orders SELECT i, i % 10, i * 1.5, (ARRAY['new', 'paid', 'sent'])[1 + i % 3] FROM generate_series(1, 99) i;
INSERT INTO orders VALUES (100, NULL, -1, 'odd');
CREATE VIEW results AS SELECT check_name, column_name, status, observed, expected, failed_rows, total_rows, sqlstate, message FROM weir.check_results;

-- What does not exist is refused when the check is created, by name.
\set VERBOSITY default
SELECT weir.create_check('c', 'orders', 'not_nul');
SELECT weir.create_check('c', 'orders', 'not_null', '{"column": "id", "max": 1}');
SELECT weir.create_check('c', 'orders', 'not_null', '{"column": "idd"}');
SELECT weir.create_check('c', 'orders', 'not_null', '{"column": "id"}', group_by => '{idd}');
SELECT weir.create_check('c', 'orders', 'unique', '{"columns": ["id", "idd"]}');
SELECT weir.create_check('c', 'orders', 'relationships', '{"column": "id", "to": "orders", "field": "idd"}');
\set VERBOSITY terse
SELECT weir.create_check('c', 'orders', 'not_null');
SELECT weir.create_check('c', 'orders', 'row_count');
SELECT weir.create_check('c', 'orders', 'relationships', '{"column": "id", "to": "nothing", "field": "id"}');
SELECT weir.create_check('c', 'orders', 'schema', '{"types": {"id": "integr"}}');
SELECT weir.create_check('c', 'orders', 'aggregate', '{"function": "pg_sleep", "column": "id", "max": 1}');
-- so is what cannot be right
SELECT weir.create_check('c', 'orders', 'row_count', '[]');
SELECT weir.create_check('c', 'orders', 'row_count', '{"min": "1"}');
SELECT weir.create_check('c', 'orders', 'accepted_range', '{"column": "id", "min": "one"}');
SELECT weir.create_check('c', 'orders', 'accepted_values', '{"column": "id", "values": [1, "two"]}');
SELECT weir.create_check('c', 'orders', 'regex', '{"column": "status", "pattern": "("}');
SELECT weir.create_check('c', 'orders', 'freshness', '{"column": "id", "warn_after": "soon"}');
SELECT weir.create_check('c', 'orders', 'freshness', '{"column": "id", "warn_after": "1 hour"}');
SELECT weir.create_check('c', 'orders', 'anomaly', '{"timestamp_column": "id", "direction": "up"}');
SELECT weir.create_check('c', 'orders', 'drift', '{"column": "status", "baseline": "orders", "method": "ks"}');
SELECT weir.create_check('c', 'orders', 'drift', '{"column": "id", "baseline": "orders", "bins": 1}');
SELECT weir.create_check('c', 'orders', 'sequence_gaps', '{"column": "status"}');
SELECT weir.create_check('c', 'orders', 'reconcile', '{"audit": true}');
SELECT weir.create_check('c', 'orders', 'custom_sql', '{"sql": "SELECT 1"}', group_by => '{id}');
SELECT weir.create_check('c', 'orders', 'not_null', '{"column": "id"}', severity => 'fatal');
SELECT weir.create_check('c', 'orders', 'not_null', '{"column": "id"}', mostly => 1.01);
SELECT weir.create_check('c', 'orders', 'not_null', '{"column": "id"}', warn_if => 'many');
SELECT weir.create_check('c', NULL, 'not_null', '{"column": "id"}');
-- Messages say which check, kind and key; without a name, which kind.
\set VERBOSITY default
\set bad 'SELECT weir.create_check(''bad'', ''orders'', '
:bad 'accepted_range', '{"column": "amount", "min": "abc"}');
\echo :LAST_ERROR_SQLSTATE
:bad 'accepted_range', '{"column": "amount", "max": "abc"}');
\echo :LAST_ERROR_SQLSTATE
:bad 'aggregate', '{"function": "avg", "column": "amount", "max": "abc"}');
\echo :LAST_ERROR_SQLSTATE
SELECT weir.try_check('orders', 'aggregate', '{"function": "max", "column": "status", "min": true}');
\echo :LAST_ERROR_SQLSTATE
SELECT weir.check_accepted_range('orders', 'amount', 'abc');
\echo :LAST_ERROR_SQLSTATE
:bad 'aggregate', '{"column": "amount", "min": 1}');
\echo :LAST_ERROR_SQLSTATE
:bad 'row_count');
\echo :LAST_ERROR_SQLSTATE
:bad 'freshness', '{"warn_after": "1 hour"}');
\echo :LAST_ERROR_SQLSTATE
:bad 'custom_sql', '{"sql": "SELEC 1"}');
\echo :LAST_ERROR_SQLSTATE
:bad 'custom_sql', '{"sql": "SELECT * FROM nowhere"}');
\echo :LAST_ERROR_SQLSTATE
:bad 'row_count', '{"min": 1}', filter => 'nothing = 1');
\echo :LAST_ERROR_SQLSTATE
:bad 'row_count', '{"min": 1}', filter => ' ');
\echo :LAST_ERROR_SQLSTATE
:bad 'aggregate', '{"function": "avg", "column": "status", "min": 1}');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
-- a number is no column's name, nor is anything else but a string
ALTER TABLE orders ADD "5" int;
:bad 'not_null', '{"column": 5}');
:bad 'not_null', '{"column": null}');
:bad 'not_null', '{"column": ["id"]}');
:bad 'unique', '{"columns": [5]}');
:bad 'relationships', '{"column": "id", "to": "orders", "field": 5}');
:bad 'anomaly', '{"timestamp_column": 5}');
ALTER TABLE orders DROP "5";
-- times are times
ALTER TABLE orders ADD day date, ADD at timestamp;
:bad 'volume', '{"column": "status", "drop": 20}');
:bad 'drift', '{"column": "amount", "timestamp_column": "status"}');
SELECT status FROM weir.try_check('orders', 'freshness', '{"column": "at", "error_after": "1 day"}');
SELECT status FROM weir.try_check('orders', 'freshness', '{"column": "day", "error_after": "1 day"}');
ALTER TABLE orders DROP day, DROP at;
:bad 'volume', '{"column": "status", "drop": 20, "bucket": "abc"}');
:bad 'volume', '{"column": "status", "drop": 20, "bucket": "1 month"}');
:bad 'volume', '{"column": "status", "drop": 20, "window": "0"}');
:bad 'volume', '{"column": "status", "drop": 20, "as_of": "soon"}');
-- what nothing, or all, would fail
:bad 'volume', '{"column": "status", "drop": 101}');
:bad 'accepted_range', '{"column": "amount", "min": 2, "max": 1}');
:bad 'accepted_range', '{"column": "status", "min": "b", "max": "a"}');
:bad 'aggregate', '{"function": "max", "column": "id", "min": 2, "max": 1}');
:bad 'cardinality', '{"column": "id", "min": 2, "max": 1}');
:bad 'row_count', '{"min": 2, "max": 1}');
:bad 'freshness', '{"column": "id", "warn_after": "2 h", "error_after": "1 h"}');
:bad 'reconcile', '{"audit": false}');
:bad 'not_null', '{"column": "id"}', error_if => '> 101 %');
SELECT outcome FROM weir.try_check('orders', 'row_count', '{"min": 100, "max": 100}') t, concat(t.status) outcome;
SELECT status FROM weir.try_check('orders', 'accepted_range', '{"column": "id", "min": 100, "max": 100}', error_if => '>= 100%');
-- keys that do not go together
:bad 'row_count', '{"same_as": "orders", "max": 1}');
:bad 'reconcile', '{"with": "orders", "audit": true}');
:bad 'reconcile', '{"audit": true, "columns": ["id"]}');
:bad 'anomaly', '{"timestamp_column": "id", "metric": "avg"}');
:bad 'anomaly', '{"timestamp_column": "id", "column": "id"}');
:bad 'drift', '{"column": "id", "baseline": "orders", "timestamp_column": "id"}');
:bad 'schema_changes', filter => 'true');
:bad 'reconcile', '{"audit": true}', filter => 'true');
-- columns of the other table
:bad 'drift', '{"column": "id", "baseline": "pg_class"}');
:bad 'reconcile', '{"with": "pg_class"}');
:bad 'reconcile', '{"with": "pg_class", "columns": ["id"]}');
-- groups
:bad 'row_count', '{"min": 1}', group_by => '{}');
:bad 'row_count', '{"min": 1}', group_by => '{NULL}');
SELECT weir.create_check('', 'orders', 'row_count', '{"min": 1}');
SELECT count(*) FROM weir.checks;
-- SQL is parsed, not run, and is one expression or query
CREATE FUNCTION loud() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'it is run'; END $$;
SELECT weir.create_check('c', 'orders', 'not_null', '{"column": "id"}', filter => 'idd > 1');
SELECT weir.create_check('c', 'orders', 'not_null', '{"column": "id"}', filter => 'true), (true');
SELECT weir.create_check('c', 'orders', 'not_null', '{"column": "id"}', filter => 'true); DROP TABLE orders; SELECT (true');
SELECT weir.create_check('c', 'orders', 'custom_sql', '{"sql": "SELECT 1; SELECT 2"}');
SELECT weir.create_check('c', 'orders', 'custom_sql', '{"sql": "DELETE FROM orders"}');
SELECT weir.create_check('c', 'orders', 'custom_sql', '{"sql": "WITH d AS (DELETE FROM orders RETURNING id) SELECT * FROM d"}');
SELECT weir.create_check('c', 'orders', 'custom_sql', '{"sql": "SELECT 1) q; DROP TABLE orders; SELECT * FROM (SELECT 1"}');
SELECT weir.create_check('loud', 'orders', 'custom_sql', '{"sql": "SELECT 1 WHERE loud() -- a comment"}', filter => 'loud()');
-- another thing of that name
SELECT weir.create_check('loud', 'orders', 'not_null', '{"column": "id"}');
SET client_min_messages = notice;
SELECT weir.create_check('loud', 'orders', 'not_null', '{"column": "id"}', if_not_exists => true);
SET client_min_messages = warning;

-- A check that raises an error is an error, and stops nothing else.
SELECT weir.create_check('customers', 'orders', 'not_null', '{"column": "customer"}', tags => '{gate}');
SELECT weir.create_check('ids', 'orders', 'unique', '{"columns": ["id"]}', tags => '{gate,keys}');
SELECT weir.create_check('zero', 'orders', 'custom_sql', '{"sql": "SELECT 1 / (id - id) FROM orders"}');
-- a FOR UPDATE would take locks that writers wait for
SELECT weir.create_check('locks', 'orders', 'custom_sql', '{"sql": "SELECT id FROM orders FOR UPDATE"}');
SELECT check_name, status, observed, expected, failed_rows, total_rows, sample, sqlstate, message FROM weir.run_checks();
SELECT * FROM results WHERE status <> 'error' ORDER BY check_name;
SELECT count(DISTINCT run_id), count(*), bool_and(duration >= '0' AND run_at <= clock_timestamp()) AS timed FROM weir.check_results;
-- by name, by table, by tag
SELECT check_name FROM weir.run_checks('ids');
SELECT check_name FROM weir.run_checks(tag => 'gate');
SELECT check_name FROM weir.run_checks(target => 'orders', tag => 'keys');
SELECT check_name FROM weir.run_checks(target => 'pg_class');
SELECT * FROM weir.run_checks('nobody');
SELECT what, severity, message, count FROM weir.alerts ORDER BY what;
-- results are appended
SELECT check_name, count(*) FROM weir.check_results GROUP BY 1 ORDER BY 1;

-- Set right, it passes, and its alert is resolved.
UPDATE orders SET customer = 0 WHERE customer IS NULL;
SELECT check_name, status, sample FROM weir.run_checks('customers');
SELECT what, resolved_at IS NOT NULL AS resolved FROM weir.alerts ORDER BY what;
SELECT weir.drop_check('zero'), weir.drop_check('locks'), weir.drop_check('loud');
SELECT weir.drop_check('zero');
SELECT what FROM weir.alerts WHERE resolved_at IS NULL;

-- mostly, warn_if, error_if, severity: one row of a hundred is not positive, nineteen are above 120.
CREATE FUNCTION outcome(severity text DEFAULT 'error', mostly float8 DEFAULT NULL, warn_if text DEFAULT NULL, error_if text DEFAULT NULL, max int DEFAULT 120)
RETURNS text LANGUAGE sql AS $$
    SELECT status || ': ' || expected FROM weir.try_check('orders', 'accepted_range', jsonb_build_object('column', 'amount', 'max', max),
        severity, mostly => mostly, warn_if => warn_if, error_if => error_if)
$$;
SELECT failed_rows, total_rows FROM weir.check_accepted_range('orders', 'amount', max => '120');
SELECT outcome(), outcome('warn'), outcome(max => 1000);
SELECT outcome(mostly => 0.81), outcome(mostly => 0.82);
SELECT outcome(warn_if => '> 10', error_if => '> 19'), outcome(warn_if => '> 10', error_if => '>= 19'), outcome(warn_if => '> 19', error_if => '> 20');
SELECT outcome(warn_if => '>= 19%', error_if => '>= 20%'), outcome(warn_if => '> 5 %', error_if => '= 19'), outcome(error_if => '> 100');
SELECT outcome(error_if => '< 19', warn_if => '> 50'), outcome(error_if => '<= 19'), outcome(error_if => '!= 19', warn_if => '> 50'), outcome(error_if => '== 19');
-- shares are of the rows: 12 of 68 are 17.65 %
SELECT status, failed_rows, total_rows FROM weir.try_check('orders', 'accepted_range', '{"column": "amount", "max": 130.5}', filter => 'id > 32', error_if => '> 18 %', warn_if => '>= 17.6%');
SELECT outcome('warn', error_if => '> 1'), outcome('warn', warn_if => '> 19'), outcome(warn_if => '> 1'), outcome(warn_if => '> 100');

-- Groups: each is judged; filter.
SELECT group_key, status, observed, failed_rows, total_rows, jsonb_array_length(sample) AS sampled
FROM weir.try_check('orders', 'accepted_range', '{"column": "amount", "max": 120}', group_by => '{status}', filter => 'id > 50');
SELECT weir.create_check('by status', 'orders', 'row_count', '{"min": 2}', group_by => '{status}');
SELECT status, group_key, observed, expected, failed_rows FROM weir.run_checks('by status');
SELECT message, detail->>'failed_rows' AS failed, detail->'groups' AS groups FROM weir.alerts WHERE what = 'by status';
-- the worst group says how bad it is; where none can be judged, what was is left
SELECT weir.create_check('mixed', 'orders', 'accepted_range', '{"column": "id", "max": 97}', group_by => '{status}', warn_if => '> 0', error_if => '> 1', filter => 'id <> 100');
SELECT status, failed_rows FROM weir.run_checks('mixed');
SELECT severity, message, detail->>'status' AS worst FROM weir.alerts WHERE what = 'mixed';
INSERT INTO orders SELECT 101, 1, 1, 'new' FROM generate_series(1, 2);
SELECT status, failed_rows FROM weir.run_checks('mixed');
SELECT severity, message, detail->>'status' AS worst FROM weir.alerts WHERE what = 'mixed';
UPDATE weir_internal.check_definition SET filter = 'false' WHERE name = 'mixed';
SELECT status FROM weir.run_checks('mixed');
SELECT resolved_at IS NOT NULL AS resolved FROM weir.alerts WHERE what = 'mixed';
SELECT weir.drop_check('mixed');
DELETE FROM orders WHERE id = 101;
-- too many
SELECT status, sqlstate, message FROM weir.try_check('pg_attribute', 'not_null', '{"column": "attname"}', group_by => '{attrelid,attname}');
-- none
SELECT status, message FROM weir.try_check('orders', 'not_null', '{"column": "id"}', group_by => '{status}', filter => 'false');
-- names that need quotes, and a column of the table's name
CREATE TABLE "odd ""table" ("odd ""table" int, "a b" text, weir_key int);
INSERT INTO "odd ""table" VALUES (1, 'x', 1), (1, NULL, 2);
SELECT status, group_key, sample FROM weir.try_check('"odd ""table"', 'not_null', '{"column": "a b"}', group_by => ARRAY['odd "table'], filter => '"odd ""table" = 1');
SELECT status, sample FROM weir.try_check('"odd ""table"', 'unique', '{"columns": ["odd \"table"]}');

-- Not enabled: left out, or skipped where it is named.
SELECT weir.create_check('off', 'orders', 'not_null', '{"column": "id"}', enabled => false);
SELECT check_name, status, message FROM weir.run_checks('off');
SELECT count(*) FROM weir.run_checks() WHERE check_name = 'off';

-- The table changes under a check.
ALTER TABLE orders RENAME customer TO client;
SELECT check_name, status, sqlstate, message FROM weir.run_checks('customers');
ALTER TABLE orders RENAME client TO customer;

-- Too long.
SELECT weir.create_check('sleeps', 'orders', 'custom_sql', '{"sql": "SELECT pg_sleep(1000)"}');
SET weir.check_timeout = '10 ms';
SELECT check_name, status, sqlstate, message FROM weir.run_checks('sleeps');
-- what bounds the whole is not the check's
SET weir.check_timeout = 0;
SET statement_timeout = '10 ms';
SELECT check_name, status FROM weir.run_checks('sleeps');
RESET statement_timeout;
RESET weir.check_timeout;
SELECT weir.drop_check('sleeps');

-- Where it stands, and how it went.
SELECT weir.drop_check('off');
SELECT count(*) FROM weir.run_checks();
SELECT target, checks, passed, warned, failed, errors, skipped, score, failing FROM weir.quality;
UPDATE weir_internal.check_result SET run_at = '2026-01-01Z' WHERE run_id = (SELECT max(run_id) FROM weir_internal.check_result);
SELECT target, day, runs, passed, warned, failed, errors, score FROM weir.quality_history WHERE day = '2026-01-01';
SELECT weir.purge_check_results() AS purged;
SELECT weir.purge_check_results('-1 day') > 0 AS purged;
SELECT count(*) FROM weir.check_results;

-- With a table go its checks.
SELECT count(*) FROM weir.run_checks('customers');
DROP TABLE orders CASCADE;
SELECT count(*) FROM weir.checks;
SELECT count(*) FROM weir.check_results;
SELECT count(*) FROM weir.alerts WHERE resolved_at IS NULL;
TRUNCATE weir_internal.alert;
DROP SCHEMA ck CASCADE;

-- A quality gate: extract → check → load.  A missing customer or an order that
-- comes twice fails the check: it is tried once more, then there is an alert,
-- and load is not run.

SET client_min_messages = error;
SELECT weir.drop_task(name, if_exists => true) FROM unnest('{quality_dag load,quality_dag check,quality_dag extract}'::text[]) name;
DROP SCHEMA IF EXISTS quality_dag CASCADE;
RESET client_min_messages;
CREATE SCHEMA quality_dag;
SET search_path = quality_dag;

CREATE TABLE source (order_id int, customer_id int, amount numeric, ts timestamptz);
CREATE TABLE staged (LIKE source);
CREATE TABLE orders (LIKE source, PRIMARY KEY (order_id));
INSERT INTO source VALUES
    (1, 10, 9.90, '2026-01-05 10:00Z'), (2, 11, 5.00, '2026-01-05 11:00Z'), (2, 11, 5.00, '2026-01-05 11:00Z'),
    (3, NULL, 7.50, '2026-01-05 12:00Z'), (4, 10, 1.00, '2026-01-06 00:00Z');

SELECT weir.create_check('quality_dag customer', 'staged', 'not_null', '{"column": "customer_id"}', tags => '{quality_dag}');
SELECT weir.create_check('quality_dag order', 'staged', 'unique', '{"columns": ["order_id"]}', tags => '{quality_dag}');

-- A task runs in a session of its own: names are qualified, as its search_path
-- is not ours.  With schedule => '@daily' the first would run every night.
SELECT weir.create_task('quality_dag extract', $$
    TRUNCATE quality_dag.staged;
    INSERT INTO quality_dag.staged SELECT * FROM quality_dag.source WHERE ts >= :interval_start AND ts < :interval_end $$);
SELECT weir.create_task('quality_dag check', $$ SELECT * FROM weir.run_checks(tag => 'quality_dag') $$,
    after => '{quality_dag extract}', retries => 1, retry_delay => '100 ms');
SELECT weir.create_task('quality_dag load', $$ INSERT INTO quality_dag.orders SELECT * FROM quality_dag.staged $$,
    after => '{quality_dag check}');
SELECT * FROM weir.task_graph() WHERE task_graph ~ 'quality_dag';

-- One day.
SELECT weir.run_task('quality_dag extract', '2026-01-05Z', '2026-01-06Z') AS run \gset
SELECT weir.wait_run(:run);
SELECT task, state, attempt, sqlstate, error, rows FROM weir.task_runs WHERE flow = :run ORDER BY run_id;
SELECT check_name, status, failed_rows, total_rows FROM weir.check_results WHERE check_name LIKE 'quality\_dag %' ORDER BY run_at;
SELECT source, what, severity FROM weir.alerts WHERE what LIKE 'quality\_dag %' AND resolved_at IS NULL ORDER BY source, what;
SELECT count(*) AS loaded FROM orders;

-- The source is repaired, and the day run again: load is run, the alerts are
-- resolved.
DELETE FROM source s USING source o WHERE s.order_id = o.order_id AND s.ctid > o.ctid;
UPDATE source SET customer_id = 12 WHERE customer_id IS NULL;
SELECT weir.run_task('quality_dag extract', '2026-01-05Z', '2026-01-06Z') AS run \gset
SELECT weir.wait_run(:run);
SELECT task, state, attempt, rows FROM weir.task_runs WHERE flow = :run ORDER BY run_id;
SELECT source, what FROM weir.alerts WHERE what LIKE 'quality\_dag %' AND resolved_at IS NULL;
SELECT order_id, customer_id, amount FROM orders ORDER BY order_id;

-- Dead letters: malformed messages do not stop the stream.  They are kept whole,
-- repaired with SQL, and replayed; each counts once.

DROP SCHEMA IF EXISTS dead_letters CASCADE;
CREATE SCHEMA dead_letters;
SET search_path = dead_letters;

SELECT weir.create_stream('orders',
    columns => 'order_id int NOT NULL, customer text, amount numeric CHECK (amount > 0)');

CREATE TABLE revenue (customer text PRIMARY KEY, orders bigint, amount numeric);

CREATE FUNCTION add_revenue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO revenue AS r
    SELECT customer, count(*), sum(amount) FROM batch GROUP BY customer
    ON CONFLICT (customer) DO UPDATE SET
        orders = r.orders + excluded.orders,
        amount = r.amount + excluded.amount;
    RETURN NULL;
END
$$;

CREATE TRIGGER add_revenue AFTER INSERT ON orders
    REFERENCING NEW TABLE AS batch
    FOR EACH STATEMENT EXECUTE FUNCTION add_revenue();

-- Five orders in one batch: two are fine, one has a decimal comma, one breaks
-- off, and one has no order_id.
SELECT * FROM weir.ingest('orders', ARRAY[
    '{"order_id": 1, "customer": "ada", "amount": 10.00}',
    '{"order_id": 2, "customer": "ada", "amount": "12,50"}',
    '{"order_id": 3, "customer": "bob", "amou',
    '{"order_id": null, "customer": "bob", "amount": 5}',
    '{"order_id": 5, "customer": "bob", "amount": 7.25}'
], kafka_timestamp => '2026-01-05 10:00Z');

-- The good ones are in, the others wait here.
SELECT * FROM revenue ORDER BY customer;
SELECT kafka_offset, error_stage, sqlstate, message, column_name, convert_from(value, 'UTF8') AS value
FROM weir.dead_letters WHERE stream_schema = 'dead_letters' ORDER BY kafka_offset;

-- Repair: filter chooses letters, transform gives the value to send.  Both are
-- SQL over the columns of weir.dead_letters.
CREATE FUNCTION replay_decimal_commas(OUT replayed bigint, OUT applied bigint, OUT failed bigint)
LANGUAGE sql SET search_path = dead_letters AS $$
    SELECT * FROM weir.replay_dead_letters('orders',
        filter => $f$ column_name = 'amount' AND sqlstate = '22P02' $f$,
        transform => $t$ regexp_replace(convert_from(value, 'UTF8'), '(\d),(\d)', '\1.\2') $t$)
$$;
SELECT * FROM replay_decimal_commas();

-- Those that succeeded are marked, in the same transaction that counted them:
-- doing it again finds nothing.
SELECT * FROM replay_decimal_commas();

-- So it may run on a schedule: a task, with pg_cron for its clock.  Here it is
-- run by hand once: nothing is left to replay, nothing counts twice.
SELECT weir.create_task('dead_letters replay', 'SELECT * FROM dead_letters.replay_decimal_commas()', '*/5 * * * *');
SELECT weir.run_task('dead_letters replay') AS run \gset
SELECT weir.wait_run(:run);
SELECT state, result FROM weir.task_runs WHERE run_id = :run;
SELECT weir.drop_task('dead_letters replay');

-- Without a transform the message is sent as it was.  Those that fail again
-- stay as they were.
SELECT * FROM weir.replay_dead_letters('orders');

SELECT * FROM revenue ORDER BY customer;
SELECT kafka_offset, replayed_at IS NOT NULL AS replayed
FROM weir.dead_letters WHERE stream_schema = 'dead_letters' ORDER BY kafka_offset;
SELECT consumed, staged, dead_lettered, replayed, balanced FROM weir.audit('orders');

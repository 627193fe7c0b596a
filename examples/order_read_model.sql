-- A read model of orders out of two kinds of events, "order placed" and
-- "payment received", which come in any order.  Dropped and built anew it is
-- the same.

DROP SCHEMA IF EXISTS order_read_model CASCADE;
CREATE SCHEMA order_read_model;
SET search_path = order_read_model;
SET timezone = 'UTC';

SELECT weir.create_stream('order_events', 'type text, order_id int, amount numeric, at timestamptz', event_time => 'at');

-- One table for each kind, and a view that puts them together.
CREATE FUNCTION build() RETURNS void LANGUAGE sql AS $$
    SELECT weir.create_upsert('placed', $q$ SELECT order_id, amount, at AS placed_at FROM order_events WHERE type = 'OrderPlaced' $q$,
        key => '{order_id}');
    SELECT weir.create_upsert('paid', $q$ SELECT order_id, amount AS paid, at AS paid_at FROM order_events WHERE type = 'PaymentReceived' $q$,
        key => '{order_id}');
$$;
SELECT build();
CREATE VIEW orders AS
SELECT order_id, amount, placed_at, paid_at, CASE WHEN paid >= amount THEN 'paid' WHEN placed_at IS NULL THEN 'unknown' ELSE 'open' END AS status
FROM placed FULL JOIN paid USING (order_id);

-- The payment of order 2 comes before the order, that of order 4 without one.
SELECT accepted FROM weir.ingest('order_events', ARRAY[
    '{"type": "OrderPlaced", "order_id": 1, "amount": 10, "at": "2026-01-05T12:00:00Z"}',
    '{"type": "PaymentReceived", "order_id": 2, "amount": 20, "at": "2026-01-05T12:03:00Z"}',
    '{"type": "OrderPlaced", "order_id": 3, "amount": 30, "at": "2026-01-05T12:01:00Z"}']);
SELECT accepted FROM weir.ingest('order_events', ARRAY[
    '{"type": "OrderPlaced", "order_id": 2, "amount": 20, "at": "2026-01-05T12:02:00Z"}',
    '{"type": "PaymentReceived", "order_id": 1, "amount": 10, "at": "2026-01-05T12:04:00Z"}',
    '{"type": "PaymentReceived", "order_id": 4, "amount": 5, "at": "2026-01-05T12:05:00Z"}']);
SELECT * FROM orders ORDER BY order_id;

-- Drop it, build it anew from what is staged: equal.
CREATE TABLE before AS TABLE orders;
DROP VIEW orders;
SELECT weir.drop('placed'), weir.drop('paid');
SELECT build();
CREATE VIEW orders AS
SELECT order_id, amount, placed_at, paid_at, CASE WHEN paid >= amount THEN 'paid' WHEN placed_at IS NULL THEN 'unknown' ELSE 'open' END AS status
FROM placed FULL JOIN paid USING (order_id);
SELECT count(*) AS differ FROM ((TABLE before EXCEPT TABLE orders) UNION ALL (TABLE orders EXCEPT TABLE before)) x;

-- An incremental model on order_id: where a scheduled job reads what is newer
-- than the newest row it has, and so misses a late row with an equal
-- updated_at, an upsert takes each event once, when it comes.

DROP SCHEMA IF EXISTS incremental_model CASCADE;
CREATE SCHEMA incremental_model;
SET search_path = incremental_model;
SET timezone = 'UTC';

-- The model is a table of the warehouse's own, with columns of its own.
CREATE TABLE orders (order_id int PRIMARY KEY, customer text NOT NULL, total numeric(10,2), updated_at timestamptz,
    loaded_by text NOT NULL DEFAULT 'weir');
SELECT weir.create_stream('raw_orders', 'order_id int, customer text, total text, updated_at timestamptz',
    event_time => 'updated_at');
SELECT weir.create_upsert('orders_model',
    $$ SELECT order_id, upper(customer) AS customer, total::numeric AS total, updated_at FROM raw_orders $$,
    key => '{order_id}', order_by => 'updated_at', into_table => 'orders');

SELECT accepted FROM weir.ingest('raw_orders', ARRAY[
    '{"order_id": 1, "customer": "ann", "total": "10.00", "updated_at": "2026-01-05T12:00:00Z"}',
    '{"order_id": 2, "customer": "bob", "total": "20.00", "updated_at": "2026-01-05T12:10:00Z"}']);
TABLE orders ORDER BY order_id;

-- Run again: nothing changes.
CREATE TABLE before AS TABLE orders;
SELECT accepted FROM weir.ingest('raw_orders', ARRAY[
    '{"order_id": 1, "customer": "ann", "total": "10.00", "updated_at": "2026-01-05T12:00:00Z"}',
    '{"order_id": 2, "customer": "bob", "total": "20.00", "updated_at": "2026-01-05T12:10:00Z"}']);
SELECT count(*) AS differ FROM (TABLE before EXCEPT TABLE orders) x;

-- A late row with the updated_at of the newest one is not lost.
SELECT accepted FROM weir.ingest('raw_orders', '{"order_id": 3, "customer": "cid", "total": "30.00", "updated_at": "2026-01-05T12:10:00Z"}'::text);
-- Nor is an event that the table refuses: it is in the dead letters, and the rest goes on.
SELECT accepted, dead_lettered FROM weir.ingest('raw_orders', ARRAY[
    '{"order_id": 4, "customer": null, "total": "40.00", "updated_at": "2026-01-05T12:11:00Z"}',
    '{"order_id": 5, "customer": "eve", "total": "fifty", "updated_at": "2026-01-05T12:11:00Z"}',
    '{"order_id": 1, "customer": "ann", "total": "11.50", "updated_at": "2026-01-05T12:12:00Z"}']);
TABLE orders ORDER BY order_id;
SELECT sqlstate, message, object_name FROM weir.dead_letters WHERE stream_schema = 'incremental_model' ORDER BY id;

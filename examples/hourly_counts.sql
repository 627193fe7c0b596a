-- Orders of each hour, as reports want them: the hour is named by its end, and
-- by a city's clock.

DROP SCHEMA IF EXISTS hourly_counts CASCADE;
CREATE SCHEMA hourly_counts;
SET search_path = hourly_counts;
SET timezone = 'UTC';

CREATE TABLE shops (shop_id int PRIMARY KEY, city text NOT NULL);
INSERT INTO shops VALUES (1, 'Berlin'), (2, 'Lisbon');

SELECT weir.create_stream('orders', 'order_id bigint, shop_id int, amount numeric, ts timestamptz', event_time => 'ts');

-- Tables are joined as they are when a batch is applied.
SELECT weir.create_continuous_aggregate('orders_by_hour',
    $$ SELECT city, count(*) AS orders, sum(amount) AS revenue,
              count(*) FILTER (WHERE amount >= 100) AS large
       FROM orders JOIN shops USING (shop_id) GROUP BY city $$,
    time_window => weir.tumble('1 hour'), allowed_lateness => '10 minutes');

CREATE VIEW hourly AS
SELECT window_end AS hour, city, orders, revenue, large FROM orders_by_hour WHERE is_final;

SELECT accepted FROM weir.ingest('orders', ARRAY[
    '{"order_id": 1, "shop_id": 1, "amount": 99.90, "ts": "2026-01-05T08:00:00Z"}',
    '{"order_id": 2, "shop_id": 2, "amount": 250, "ts": "2026-01-05T08:59:59Z"}',
    '{"order_id": 3, "shop_id": 1, "amount": 100, "ts": "2026-01-05T09:00:00Z"}',
    '{"order_id": 4, "shop_id": 1, "amount": 7.5, "ts": "2026-01-05T08:30:00Z"}']);

-- 08:00 to 09:00 may still get orders for ten minutes.
SELECT * FROM hourly;
SELECT window_end AS hour, city, orders, revenue, large, is_final FROM orders_by_hour ORDER BY 1, 2;

SELECT accepted FROM weir.ingest('orders', '{"order_id": 5, "shop_id": 2, "amount": 20, "ts": "2026-01-05T09:10:00Z"}'::text);
SELECT * FROM hourly ORDER BY 1, 2;

-- A day in Berlin is a day there, with 23, 24 or 25 hours.  What is staged is
-- counted from the beginning.
SELECT weir.create_continuous_aggregate('orders_by_day',
    $$ SELECT count(*) AS orders, sum(amount) AS revenue FROM orders $$,
    time_window => weir.tumble('1 day', timezone => 'Europe/Berlin'));
SELECT window_start, window_end, orders, revenue FROM orders_by_day;
